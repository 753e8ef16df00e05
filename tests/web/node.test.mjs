import assert from "node:assert";
import { readFile } from "node:fs/promises";
import path from "node:path";
import test from "node:test";
import * as ort from "onnxruntime-web";
import { TOLERANCE, differences, largest } from "./compare.mjs";

const folder = process.env.REFLRP_WEB;
const cases = JSON.parse(await readFile(path.join(folder, "cases.json"), "utf8"));
ort.env.wasm.numThreads = 1;

for (const one of cases) {
  test(`node: ${one.name}`, async () => {
    const model = await readFile(path.join(folder, one.file));
    const found = await differences(ort, model, one);
    assert.equal(found.length, one.runs.length);
    for (const off of found) assert.ok(off < TOLERANCE, `off by ${off}`);
  });
}

test("node: the lines of docs/compile.md", async () => {
  const page = await readFile(path.join(import.meta.dirname, "../../docs/compile.md"), "utf8");
  const lines = page.match(/^```javascript\n([^]*?)^```/m)[1].split("\n");
  const body = lines.filter((line) => !line.startsWith("import ")).join("\n");
  const { feeds, wanted } = cases[0].runs[1]; // one digit
  process.chdir(folder);
  const run = new Function("ort", "pixels", `return (async () => {${body}; return relevance; })()`);
  const relevance = await run(ort, Float32Array.from(feeds.image.data));
  assert.ok(largest(relevance, wanted["relevance/image"].data) < TOLERANCE);
});
