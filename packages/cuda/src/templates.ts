/** @file Renders nunjucks templates; a name that the view lacks is an error. */
import nunjucks from "nunjucks";
import type { BodyView } from "./body.ts";

const environment = new nunjucks.Environment(null, {
  autoescape: false,
  throwOnUndefined: true,
  trimBlocks: true,
  lstripBlocks: true,
});

/** Keywords and loop names that look like variables inside tags. */
const known = new Set([
  "if", "elif", "else", "endif", "for", "endfor", "in", "not", "and", "or", "loop", "set",
]);

/** nunjucks says nothing of a misspelt name inside `{% if %}`: check every name beforehand. */
function checkNames(template: string, view: BodyView): void {
  const local = new Set<string>();
  for (const [, name] of template.matchAll(/\{%-?\s*for\s+(\w+)\s+in/g)) if (name) local.add(name);
  for (const [, inside] of template.matchAll(/\{[{%]-?([\s\S]*?)-?[}%]\}/g)) {
    const bare = (inside ?? "").replace(/"[^"]*"|'[^']*'/g, "").replace(/\.\w+/g, "");
    for (const [name] of bare.matchAll(/[A-Za-z_]\w*/g)) {
      if (!known.has(name) && !local.has(name) && !Object.hasOwn(view, name)) {
        throw new ReferenceError(`template uses '${name}', which its view does not have`);
      }
    }
  }
}

/** Text of a template. Throws `ReferenceError` for a name that is not in the view. */
export function render(template: string, view: BodyView): string {
  checkNames(template, view);
  return environment.renderString(template, view);
}
