/** @file Uses @mpk/cuda with the IR and the scheduler: emits the kernel of a toy plan. */
import { emit, findTarget } from "@mpk/cuda";
import type { BodyTable, OpBody } from "@mpk/cuda";
import { defineProgram } from "@mpk/ir";
import { plan, virtual } from "@mpk/schedule";
import { toySemantics, toyTable } from "@mpk/schedule/testing";

const limits = { maxTokens: 2, maxContext: 16 };
const program = defineProgram({ name: "toy", limits, table: toySemantics }, (b) => {
  const table = b.weight("table", { dtype: "bf16", shape: [24, 24] });
  const [x = -1] = b.op({ kind: "lookup", inputs: [b.input("ids"), table] });
  const [y = -1] = b.op({ kind: "last", inputs: [x] });
  const [logits = -1] = b.op({ kind: "fold", inputs: [y] });
  const [token = -1] = b.op({ kind: "choose", inputs: [logits] });
  return { logits, token };
});

/** Eight columns of every row, each by an expression. */
function elements(element: OpBody["view"]): OpBody {
  return {
    run: "elements",
    template: () => `struct {{ name }} {
  static constexpr u32 kN = {{ columns }}, kTile = 8, kRows = {{ rows }};
  static constexpr u32 kOutStride = {{ stride }}, kOutOperand = {{ word }};
  typedef {{ type }} Out;
  MPK_DEVICE static float element(const Context& c, const u32* ops, u32 row, u32 column) {
    return {{ element }};
  }
};`,
    view(op, env) {
      const [out] = env.outputs;
      if (out === undefined) throw new Error(`${op.kind} has no output`);
      const { columns, stride, word, rows } = out;
      const size = rows === "T" ? 0 : rows;
      return { columns, stride, word, rows: size, type: env.type(out), ...element(op, env) };
    },
  };
}

const lookup = elements((_op, env) => {
  const [, table] = env.inputs;
  if (table === undefined) throw new Error("lookup has no table");
  return { element: env.element(table, "static_cast<u32>(c.shared->step.ids[row])", "column") };
});
const fold = elements((_op, env) => {
  const [x] = env.inputs;
  if (x === undefined) throw new Error("fold has no input");
  return { element: env.element(x, x.lastRow ? "c.tokens - 1" : "row", "column") };
});
const choose: OpBody = {
  run: "sample",
  template: () => `struct {{ name }} {
  static constexpr u32 kXOperand = {{ x }}, kOutOperand = {{ out }}, kBlocks = 0;
  static constexpr i32 kBlockMaxOperand = -1;
};`,
  view: (_op, env) => ({ x: env.inputs[0]?.word ?? 0, out: env.outputs[0]?.word ?? 0 }),
};
const bodies: BodyTable = new Map(
  Object.entries({ lookup, fold, choose }).map(([name, body]) => [name, body as OpBody<never>]),
);

const machine = virtual(3, { sharedBytes: findTarget("sm_90a").sharedBytes });
const made = plan(program, toyTable, machine);
const { source, manifest } = emit(made, toyTable, bodies, { target: "sm_90a" });
const again = emit(made, toyTable, bodies, { target: "sm_90a" });
console.log(`includes: ${source.match(/^\s*#\s*include/gm)?.length ?? 0}`);
console.log(`bodies: ${source.match(/struct Body\d+ /g)?.length ?? 0}`);
console.log(`launch: ${manifest.launch.blocks} blocks, entry ${manifest.entries.decode}`);
console.log(`same again: ${again.source === source}`);
