/** @file The documentation builds as a site: every page of the guide, every package, no dead link. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageNames } from "../scripts/architecture.ts";
import { runChild } from "../scripts/runs.ts";

const root = join(import.meta.dirname, "..");
const dist = join(root, "docs", ".vitepress", "dist");

test("the site builds, without dead links, with a page for each guide, decision and package", async () => {
  const script = join(root, "scripts", "site.ts");
  const built = await runChild(process.execPath, [script], { cwd: root, seconds: 500 });
  expect(built).toMatchObject({ code: 0, timedOut: false });
  const guides = readdirSync(join(root, "docs")).filter((name) => /^[a-z]+\.md$/.test(name));
  const decisions = readdirSync(join(root, "docs", "adr")).filter((name) => /^\d/.test(name));
  const expected = [
    "index.html", "api/index.html", "adr/index.html",
    ...guides.map((name) => name.replace(/md$/, "html")),
    ...decisions.map((name) => `adr/${name.replace(/md$/, "html")}`),
    ...packageNames.map((name) => `api/${name}.html`),
  ];
  expect(expected.filter((path) => !existsSync(join(dist, path)))).toEqual([]);
  const page = readFileSync(join(dist, "api", "schedule.html"), "utf8");
  expect(page).toMatch(/<h1[^>]*>@mpk\/schedule/);
  expect(page).toContain("simulatorOf");
  expect(readFileSync(join(dist, "see.html"), "utf8")).toMatch(/<img src="[^"]*layer[^"]*\.png"/);
});
