import { join } from "node:path";
import * as v from "valibot";
import { parseAllDocuments } from "yaml";

/** The rendered manifest. */
const MANIFEST = join(import.meta.dir, "../../../deploy/kubernetes/ip-masq-agent.yaml");

const Probe = v.object({ httpGet: v.object({ host: v.string(), port: v.number(), path: v.string() }) });
export type Probe = v.InferOutput<typeof Probe>;

/** The parts of a Pod template that tests read; all others are kept unchanged. */
const Template = v.looseObject({
  metadata: v.looseObject({}),
  spec: v.looseObject({
    hostNetwork: v.literal(true),
    containers: v.tuple([
      v.looseObject({
        name: v.string(),
        image: v.string(),
        livenessProbe: v.looseObject(Probe.entries),
        readinessProbe: v.looseObject(Probe.entries),
        securityContext: v.looseObject({
          readOnlyRootFilesystem: v.literal(true),
          allowPrivilegeEscalation: v.literal(false),
          capabilities: v.object({ add: v.array(v.string()), drop: v.tuple([v.literal("ALL")]) }),
        }),
      }),
    ]),
  }),
});
export type Template = v.InferOutput<typeof Template>;

const DaemonSet = v.looseObject({
  kind: v.literal("DaemonSet"),
  spec: v.looseObject({ template: Template }),
});

/** The manifest's Pod template. */
export async function podTemplate(): Promise<Template> {
  const documents = parseAllDocuments(await Bun.file(MANIFEST).text()).map(it => it.toJS());
  const all = documents.filter(it => v.is(v.looseObject({ kind: v.literal("DaemonSet") }), it));
  return v.parse(v.tuple([DaemonSet]), all)[0].spec.template;
}
