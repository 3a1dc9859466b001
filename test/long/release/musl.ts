import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { $ } from "bun";
import { type Chroot, suiteChroot } from "../../debian/chroot.ts";
import type { Missing } from "../../debian/tools.ts";

const SUITE = "bookworm";

/**
 * Returns the root of a small node with musl next to the glibc of its nft and iptables. Bun for musl also needs
 * libstdc++ for musl, which neither Debian nor npm has: it is compiled once, from Debian's sources of GCC (180 MB, 70 s
 * on one core); the compiler is deleted afterwards.
 */
export function muslRoot(): Promise<Chroot | Missing> {
  return suiteChroot("root-musl", SUITE, ["nftables", "iptables", "musl"], async root => {
    const compiler = await suiteChroot("musl-compiler", SUITE, COMPILER);
    if ("missing" in compiler) throw new Error(compiler.missing);
    const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
    const library = join(root, "lib", `${machine}-linux-musl`, "libstdc++.so.6");
    const isolate = join(import.meta.dir, "../../../lab/isolate");
    await $`${isolate} ${compiler.command(["bash", "-ec", COMPILE, machine, library], root)}`;
    await rm(dirname(compiler.root), { recursive: true });
  });
}

const COMPILER = [
  ...["gcc-12-source", "g++-12", "libunwind-14-dev", "musl-tools", "make", "tar", "xz-utils"],
  ...["bash", "dash", "coreutils", "diffutils", "findutils", "gawk", "grep", "sed"],
];

/**
 * Debian's build of GCC's unwinder needs glibc; LLVM's needs only one function of glibc's hardening. The library does not
 * link libc, because the program that loads it does.
 */
const COMPILE = `
  ln -s gawk /usr/bin/awk
  cd /tmp
  exec 3>&1 >log 2>&1
  trap 'tail -n 20 /tmp/log >&3' ERR
  parts=(libstdc++-v3 libgcc libiberty libbacktrace include config config-ml.in config.{guess,sub,rpath} depcomp
    install-sh ltmain.sh missing mkinstalldirs move-if-change gcc/BASE-VER gcc/DATESTAMP)
  tar --no-same-owner -xJf /usr/src/gcc-12/gcc-12.*.tar.xz --strip-components=1 --wildcards "\${parts[@]/#/gcc-12.*/}"
  ln -s gthr-posix.h libgcc/gthr-default.h
  mkdir made && cd made
  specs=-specs=/usr/lib/$0-linux-musl/musl-gcc.specs
  export CONFIG_SHELL=/bin/bash CC="gcc-12 $specs" CXX="g++-12 $specs" CFLAGS="-O1 -fPIC" CXXFLAGS="-O1 -fPIC"
  ../libstdc++-v3/configure --host=$0-linux-musl --disable-shared --disable-multilib --disable-nls --disable-libstdcxx-pch
  for part in include libsupc++ src; do make -j2 -C $part; done
  echo '#include <stdio.h>
    int __fprintf_chk(FILE *to, int level, const char *format, ...) {
      __builtin_va_list values;
      __builtin_va_start(values, format);
      return vfprintf(to, format, values);
    }' >fprintf.c
  $CC $CFLAGS -shared -nodefaultlibs -Wl,-soname,libstdc++.so.6 -Wl,--eh-frame-hdr -o "$1" fprintf.c \
    -Wl,--whole-archive src/.libs/libstdc++.a -Wl,--no-whole-archive -L/usr/lib/llvm-14/lib -l:libunwind.a -lgcc
`;
