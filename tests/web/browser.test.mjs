// The same in a page of headless Chromium: CHROMIUM says where it is (Debian's by default).
import assert from "node:assert";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import test, { after, before } from "node:test";
import { chromium } from "playwright-core";
import { TOLERANCE } from "./compare.mjs";

const here = import.meta.dirname;
const roots = {
  "/models/": process.env.REFLRP_WEB,
  "/ort/": path.join(here, "node_modules/onnxruntime-web/dist"),
  "/": here,
};
const types = { ".mjs": "text/javascript", ".html": "text/html", ".wasm": "application/wasm", ".json": "application/json" };
const cases = JSON.parse(await readFile(path.join(process.env.REFLRP_WEB, "cases.json"), "utf8"));
let server, browser, page;

async function answer(request, response) {
  const url = new URL(request.url, "http://localhost").pathname;
  const prefix = Object.keys(roots).find((start) => url.startsWith(start));
  try {
    const body = await readFile(path.join(roots[prefix], path.normalize(url.slice(prefix.length))));
    response.writeHead(200, { "content-type": types[path.extname(url)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
}

before(async () => {
  server = createServer(answer);
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/page.html`);
});

after(async () => {
  await browser?.close();
  server?.close();
});

for (const [i, one] of cases.entries()) {
  test(`Chromium: ${one.name}`, async () => {
    const found = await page.evaluate((n) => window.differences(n), i);
    assert.equal(found.length, one.runs.length);
    for (const off of found) assert.ok(off < TOLERANCE, `off by ${off}`);
  });
}
