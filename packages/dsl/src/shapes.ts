/** @file Shapes at the type level: cheap rules whose failures are sentences. Types only. */
import type { Dim, DType } from "@mpk/ir";

export type { Dim, DType };

/** Row-major dims: numbers, known or not, and "T", the tokens of a step, as the first. */
export type Shape = readonly Dim[];

/**
 * What a parameter's type becomes where shapes disagree, so that the compiler's error ends in a
 * sentence. No value has this type.
 */
export interface Problem<Sentence extends string> {
  readonly "shape problem": Sentence;
}

/** `number` stands for a size known only when the model is built: the shape rule checks it then. */
type Agree<A extends Dim, B extends Dim> = number extends A ? true
  : number extends B ? true
  : [A, B] extends [B, A] ? true
  : false;

/** The more exact of two dims that agree. */
type Known<A extends Dim, B extends Dim> = number extends A ? B : A;

type AgreeAll<A extends Shape, B extends Shape> = A extends readonly [
  infer A0 extends Dim, ...infer As extends Shape,
] ? B extends readonly [infer B0 extends Dim, ...infer Bs extends Shape]
    ? Agree<A0, B0> extends true ? AgreeAll<As, Bs> : false
    : false
  : B extends readonly [] ? true : false;

/** Shape text in sentences: `[T, 96]`. */
export type Show<S extends Shape> = S extends readonly [] ? "[]"
  : S extends readonly [infer A extends Dim, ...infer Rest extends Shape]
    ? `[${A}${ShowRest<Rest>}]`
  : "[...]";
type ShowRest<S extends Shape> = S extends readonly [
  infer A extends Dim, ...infer Rest extends Shape,
] ? `, ${A}${ShowRest<Rest>}` : "";

/** Columns of [R, N]; with more dims their product, which is left to run time. */
export type Columns<S extends Shape> = S extends readonly [Dim, infer N extends Dim] ? N : number;
export type Rows<S extends Shape> = S extends readonly [infer R extends Dim, ...Shape] ? R : Dim;

export type LastRow<S extends Shape> =
  S extends readonly [Dim, ...infer Rest extends Shape] ? readonly [1, ...Rest] : Shape;

/** x [R, K] times a weight [N, K]. */
export type MatmulProblem<X extends Shape, W extends Shape> =
  Agree<Columns<X>, Columns<W>> extends true ? never
    : Problem<`matmul: inner dimensions differ: ${Columns<X>} and ${Columns<W>}`>;

/** A vector that must have `N` elements: a bias, a norm's gain. */
export type VectorProblem<What extends string, N extends Dim, V extends Shape> =
  number extends V["length"] ? never
    : V extends readonly [infer L extends Dim]
    ? Agree<N, L> extends true ? never : Problem<`${What} has ${L} elements, ${N} are needed`>
    : Problem<`${What} is ${Show<V>}, a vector is needed`>;

/** The common shape of an elementwise op: equal shapes, a row [N], or one number [1]. */
export type Broadcast<A extends Shape, B extends Shape> = number extends A["length"] ? Shape
  : number extends B["length"] ? A
  : B extends readonly [1] ? A
  : A extends readonly [1] ? B
  : AgreeAll<A, B> extends true ? Merge<A, B>
  : B extends readonly [infer N extends Dim] ? Agree<Columns<A>, N> extends true ? A : never
  : A extends readonly [infer N extends Dim] ? Agree<Columns<B>, N> extends true ? B : never
  : never;
type Merge<A extends Shape, B extends Shape> = A extends readonly [
  infer A0 extends Dim, ...infer As extends Shape,
] ? B extends readonly [infer B0 extends Dim, ...infer Bs extends Shape]
    ? readonly [Known<A0, B0>, ...Merge<As, Bs>]
    : readonly []
  : readonly [];
export type BroadcastProblem<What extends string, A extends Shape, B extends Shape> =
  [Broadcast<A, B>] extends [never] ? Problem<`${What}: shapes differ: ${Show<A>} and ${Show<B>}`>
    : never;

/** Broadcast over a list of operands' shapes, `never` where one does not fit. */
export type BroadcastAll<A extends Shape, Bs extends readonly Shape[]> = Bs extends readonly [
  infer B extends Shape, ...infer Rest extends readonly Shape[],
] ? [Broadcast<A, B>] extends [never] ? never : BroadcastAll<Broadcast<A, B>, Rest>
  : A;

type Tuples = [
  [], [0], [0, 0], [0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0],
];
type Digit = "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9";
type TupleOf<D> = D extends keyof Tuples ? Extract<Tuples[D], readonly 0[]> : [];
type Backwards<S extends string> = S extends `${infer H}${infer R}` ? `${Backwards<R>}${H}` : "";
type DigitSum<A, B, C extends readonly 0[]> =
  `${[...TupleOf<A>, ...TupleOf<B>, ...C]["length"] & number}`;
/** Schoolbook addition of decimal digits, least digit first: a handful of steps for any size. */
type AddDigits<A extends string, B extends string, C extends readonly 0[] = []> =
  A extends `${infer A0 extends Digit}${infer As}`
    ? B extends `${infer B0 extends Digit}${infer Bs}` ? Carry<DigitSum<A0, B0, C>, As, Bs>
      : Carry<DigitSum<A0, "0", C>, As, "">
    : B extends `${infer B0 extends Digit}${infer Bs}` ? Carry<DigitSum<"0", B0, C>, "", Bs>
    : C extends [0] ? "1" : "";
type Carry<Sum extends string, As extends string, Bs extends string> =
  Sum extends `1${infer Low extends Digit}` ? `${Low}${AddDigits<As, Bs, [0]>}`
    : `${Sum}${AddDigits<As, Bs>}`;
type ToNumber<S extends string> = S extends `${infer N extends number}` ? N : number;

/** Sum of two sizes; `number` if either is. */
export type Add<A extends Dim, B extends Dim> = A extends number
  ? B extends number
    ? number extends A ? number
      : number extends B ? number
      : ToNumber<Backwards<AddDigits<Backwards<`${A}`>, Backwards<`${B}`>>>>
    : number
  : number;

/** Sum of a list of sizes. */
export type Sum<Ns extends readonly Dim[], Acc extends Dim = 0> =
  number extends Ns["length"] ? number
    : Ns extends readonly [infer N extends Dim, ...infer Rest extends readonly Dim[]]
      ? Sum<Rest, Add<Acc, N>>
      : Acc;

/** Column counts of parts must add up to the whole. */
export type SplitProblem<S extends Shape, Sizes extends readonly number[]> =
  Agree<Columns<S>, Sum<Sizes>> extends true ? never
    : Problem<`split: parts have ${Sum<Sizes>} columns in all, the tensor has ${Columns<S>}`>;

/** Parts put side by side must have the same rows. */
export type RowsProblem<What extends string, A extends Shape, B extends Shape> =
  Agree<Rows<A>, Rows<B>> extends true ? never
    : Problem<`${What}: rows differ: ${Show<A>} and ${Show<B>}`>;

/** A choice is made from one row. */
export type SampleProblem<S extends Shape> = Agree<Rows<S>, 1> extends true ? never
  : Problem<`sample: one row of logits is needed, the tensor is ${Show<S>}; take last() first`>;

/** `Arg` itself, or the sentence that says why not. */
export type Checked<Arg, P> = [P] extends [never] ? Arg : P;
