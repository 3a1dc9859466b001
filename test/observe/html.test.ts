import { expect, test } from "bun:test";
import { html } from "../../src/observe/html.ts";

test("values in a template are escaped, HTML is not", () => {
  const part = html`<b>${"<script>\"&'"}</b>`;
  expect(part.text).toBe("<b>&lt;script&gt;&quot;&amp;&#x27;</b>");
  expect(html`<p>${part}${[1, "<", [part]]}</p>`.text).toBe(`<p>${part.text}1&lt;${part.text}</p>`);
});
