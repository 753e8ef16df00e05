import assert from "node:assert";
import { readFile } from "node:fs/promises";
import path from "node:path";
import test from "node:test";
import * as ort from "onnxruntime-web";
import { TOLERANCE, differences } from "./compare.mjs";

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
