/** @file The documentation site: the pages of this folder, and one per package made by typedoc. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vitepress";

const docs = join(import.meta.dirname, "..");
const titleOf = (path: string): string =>
  /^# (.*)$/m.exec(readFileSync(join(docs, path), "utf8"))?.[1] ?? path;
const pagesIn = (folder: string): readonly string[] =>
  existsSync(join(docs, folder))
    ? readdirSync(join(docs, folder)).filter((name) => name.endsWith(".md") && name !== "README.md").sort()
    : [];
const listed = (folder: string) => pagesIn(folder).map((name) => ({
  text: titleOf(`${folder}/${name}`).replaceAll(/\\/g, ""), link: `/${folder}/${name.replace(/\.md$/, "")}`,
}));

const guide = [
  { text: "Overview", link: "/" },
  { text: "Tutorial", link: "/tutorial" },
  { text: "See a step", link: "/see" },
  { text: "map: your own op", link: "/map" },
  { text: "Performance", link: "/performance" },
  { text: "Reliability", link: "/reliability" },
  { text: "Roadmap", link: "/roadmap" },
];

export default defineConfig({
  title: "MPK in TypeScript",
  description: "Language models written in TypeScript, compiled into one persistent GPU kernel",
  rewrites: { "README.md": "index.md", "api/README.md": "api/index.md", "adr/README.md": "adr/index.md" },
  cleanUrls: false,
  lastUpdated: false,
  // Links to files of the repository that are no pages: they are checked by docs/pages.test.ts.
  ignoreDeadLinks: [/^(\.\/)?(\.\.\/)+(examples|bench|packages|scripts)\b/],
  themeConfig: {
    nav: [{ text: "Guide", link: "/tutorial" }, { text: "Packages", link: "/api/" }],
    sidebar: [
      { text: "Guide", items: guide },
      { text: "Decisions", collapsed: true, items: listed("adr") },
      { text: "Packages", collapsed: true, items: listed("api") },
    ],
    search: { provider: "local" },
    outline: [2, 3],
  },
});
