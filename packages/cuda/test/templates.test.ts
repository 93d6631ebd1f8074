/** @file Templates print what their view says, and refuse names that it lacks. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { render } from "../src/templates.ts";

const view = { name: "Body0", flag: true, items: [{ size: 1 }, { size: 2 }] };

describe("a name that the view lacks is refused", () => {
  test.each([
    ["printed", "{{ nmae }}"],
    ["printed beside a good one", "{{ name }}{{ nmae }}"],
    ["printed by a dotted path", "{{ nmae.text }}"],
    ["in a condition", "{% if nmae %}a{% endif %}"],
    ["in a condition never taken", "{% if flag %}a{% elif nmae %}b{% endif %}"],
    ["inside a condition that is false", "{% if not flag %}{{ nmae }}{% endif %}"],
    ["in a longer condition", "{% if flag and not nmae %}a{% endif %}"],
    ["in a comparison", '{% if nmae == "flag" %}a{% endif %}'],
    ["as a list", "{% for item in nmae %}a{% endfor %}"],
    ["in the body of a loop", "{% for item in items %}{{ nmae }}{% endfor %}"],
    ["with white space control", "{%- if nmae -%}a{%- endif -%}"],
    ["over several lines", "{% if\n nmae\n%}a{% endif %}"],
  ])("%s", (_, template) => {
    expect(() => render(template, view)).toThrow(/template uses 'nmae', which its view does not/);
  });

  test("in an element of a list", () => {
    expect(() => render("{% for item in items %}{{ item.szie }}{% endfor %}", view))
      .toThrow(/undefined/);
  });
});

test("a view's name is not one of Object's", () => {
  expect(() => render("{% if constructor %}a{% endif %}", view)).toThrow(/'constructor'/);
});

test("text, conditions and loops print as written", () => {
  const template = '{% if flag and name == "Body0" %}\nyes\n{% endif %}\n' +
    "{% for item in items %}\n{{ loop.index0 }}: {{ item.size }}\n{% endfor %}\nend";
  expect(render(template, view)).toBe("yes\n0: 1\n1: 2\nend");
});

test("values are printed as they are: nothing is escaped, nothing rendered again", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(render("<{{ name }}>", { name: text })).toBe(`<${text}>`);
    }),
    { numRuns: 20 },
  );
  expect(render("{{ name }}", { name: "{{ flag }} <&> {% if %}" })).toBe("{{ flag }} <&> {% if %}");
});
