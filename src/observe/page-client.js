// Refreshes the status page without a jump, and searches and sorts its CIDRs. Runs in the browser.
const PERIOD_MS = 5000;
const MOST_FIRST = 50;
const MORE = 500;

const notice = document.getElementById("notice");

/** Replaces the parts that have changed. */
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.pathname);
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(part.id);
      if (!now || now.innerHTML === part.innerHTML) continue;
      const open = Array.from(part.querySelectorAll("details"), it => it.open);
      part.innerHTML = now.innerHTML;
      part.className = now.className;
      for (const [i, it] of part.querySelectorAll("details").entries()) it.open = open[i] ?? false;
    }
    notice.hidden = true;
    for (const list of lists) await list.refresh();
  } catch {
    notice.hidden = false;
  }
}

/** Numbers of an IPv4 address or CIDR: the address and the length of its prefix. */
function parsedIPv4(text) {
  const [, ...parts] = /^(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?$/.exec(text) ?? [];
  if (parts.length === 0) return undefined;
  const address = parts.slice(0, 4).reduce((sum, it) => sum * 256 + Number(it), 0);
  return { address, size: 2 ** (32 - Number(parts[4] ?? 32)) };
}

function contains(cidr, address) {
  const outer = parsedIPv4(cidr);
  return outer && Math.floor(outer.address / outer.size) === Math.floor(address / outer.size);
}

const place = ({ file, line, flag }) => (file ? `${file}:${line}` : flag ? `--${flag}` : "default");
const byText = (a, b) => a.localeCompare(b, "en", { numeric: true });
const ORDERS = {
  policy: undefined,
  cidr: (a, b) => byText(a.cidr, b.cidr),
  verdict: (a, b) => byText(a.verdict, b.verdict),
  connections: (a, b) => (b.connections ?? -1) - (a.connections ?? -1),
  bytes: (a, b) => (b.bytes ?? -1) - (a.bytes ?? -1),
  origin: (a, b) => byText(place(a.origin), place(b.origin)),
};

/** The CIDRs of one family. Without a search or an order, the page's own rows are shown. */
class CidrList {
  constructor(form) {
    this.family = form.dataset.family;
    this.form = form;
    this.table = document.getElementById(form.dataset.table);
    this.count = form.querySelector("output");
    this.button = document.getElementById(`more-${this.family}`);
    this.button.hidden = false;
    this.most = MOST_FIRST;
    form.hidden = false;
    form.addEventListener("submit", event => event.preventDefault());
    form.addEventListener("input", () => {
      this.most = MOST_FIRST;
      this.load();
    });
    this.button.addEventListener("click", () => {
      this.most += MORE;
      this.load();
    });
  }

  async refresh() {
    if (!this.all) return;
    this.all = undefined;
    await this.load();
  }

  async load() {
    this.table.tBodies[0].removeAttribute("data-live");
    this.loading ??= fetch("status")
      .then(answer => answer.json())
      .finally(() => {
        this.loading = undefined;
      });
    this.all ??= (await this.loading).cidrs.filter(it => it.family === this.family && !it.inside);
    this.show();
  }

  show() {
    const { search, order } = this.form.elements;
    const word = search.value.trim().toLowerCase();
    const address = parsedIPv4(word)?.address;
    const found = this.all.filter(
      it =>
        it.cidr.includes(word) ||
        place(it.origin).toLowerCase().includes(word) ||
        (address !== undefined && contains(it.cidr, address)),
    );
    const compare = ORDERS[order.value];
    if (compare) found.sort(compare);
    const rows = found.slice(0, this.most).map(it => this.row(it));
    this.table.tBodies[0].replaceChildren(...rows);
    this.count.value = `${rows.length.toLocaleString("en")} of ${found.length.toLocaleString("en")} shown`;
    this.button.hidden = rows.length === found.length;
  }

  row({ cidr, verdict, connections, bytes, origin }) {
    const number = value => value?.toLocaleString("en") ?? "–";
    const row = document.createElement("tr");
    const heads = this.table.querySelectorAll("th");
    const cells = [cidr, verdict, number(connections), number(bytes), place(origin)];
    for (const [i, text] of cells.entries()) {
      const cell = row.insertCell();
      cell.dataset.label = heads[i].textContent;
      if (i === 2 || i === 3) cell.className = "n";
      if (i === 0) cell.appendChild(document.createElement("code")).textContent = text;
      else cell.textContent = text;
    }
    return row;
  }
}

const lists = Array.from(document.querySelectorAll("form[data-family]"), form => new CidrList(form));
setInterval(refresh, PERIOD_MS);
document.addEventListener("visibilitychange", refresh);
