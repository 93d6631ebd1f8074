/** @file Readers of JSON attributes: each checks one value and names it when it is wrong. Pure. */
import { ShapeError, dtypeBytes, exprFromJson } from "@mpk/ir";
import type { DType, Dim, Expr, Json } from "@mpk/ir";

type Attrs = { readonly [key: string]: Json };

/** Turns one JSON value into a `T`, or throws `ShapeError` naming `path`. */
export type Field<T> = (value: Json | undefined, path: string) => T;

type FieldsByName = { readonly [key: string]: Field<unknown> };

/** What a record of fields reads to. */
type Fields<F> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

const show = (value: Json | undefined): string =>
  value === undefined ? "nothing" : JSON.stringify(value);

function refuse(path: string, expected: string, got: Json | undefined): never {
  throw new ShapeError(`attribute ${path}: expected ${expected}, got ${show(got)}`);
}

const isObject = (value: Json | undefined): value is Attrs =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A number that `accept` takes. `expected` describes it in the error. */
function number(expected: string, accept: (x: number) => boolean): Field<number> {
  return (value, path) =>
    typeof value === "number" && accept(value) ? value : refuse(path, expected, value);
}

/** An integer of at least 1. */
export const count = number("an integer of 1 or more", (x) => Number.isSafeInteger(x) && x >= 1);
/** An integer of at least 0. */
export const index = number("an integer of 0 or more", (x) => Number.isSafeInteger(x) && x >= 0);
/** A finite number above 0. */
export const positive = number("a number above 0", (x) => Number.isFinite(x) && x > 0);
/** A finite number of at least 0. */
export const nonNegative = number("a number of 0 or more", (x) => Number.isFinite(x) && x >= 0);
/** A finite number. */
export const finite = number("a finite number", Number.isFinite);

/** true or false. */
export const flag: Field<boolean> = (value, path) =>
  typeof value === "boolean" ? value : refuse(path, "true or false", value);

/** An expression over at most `argCount` arguments; the op's shape rule checks that number. */
export const expression: Field<Expr> = (value, path) => {
  if (!isObject(value)) return refuse(path, "an expression object", value);
  try {
    return exprFromJson(value);
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw new ShapeError(`attribute ${path}: ${error.message}`, { cause: error });
  }
};

/** One of a few strings or numbers. */
export function oneOf<const T extends string | number>(...options: readonly T[]): Field<T> {
  return (value, path) =>
    options.find((option) => option === value) ??
    refuse(path, `one of ${options.map(show).join(", ")}`, value);
}

/** A number format. */
export const dtype: Field<DType> = oneOf(...(Object.keys(dtypeBytes) as DType[]));

/** Dims of a shape: `"T"` or integers of at least 1. */
export const dims: Field<readonly Dim[]> = (value, path) => {
  if (!Array.isArray(value) || value.length === 0) {
    return refuse(path, 'a list of dims such as ["T", 8, 64]', value);
  }
  return value.map((dim: Json, i) => (dim === "T" ? "T" : count(dim, `${path}[${i}]`)));
};

/** null, or what `field` reads. */
export function nullable<T>(field: Field<T>): Field<T | null> {
  return (value, path) => (value === null ? null : field(value, path));
}

/** What `field` reads, or `otherwise` where nothing is given. */
export function optional<T>(field: Field<T>, otherwise: T): Field<T> {
  return (value, path) => (value === undefined ? otherwise : field(value, path));
}

/** An object with exactly these fields. A missing or an unknown one is an error. */
export function record<F extends FieldsByName>(
  fields: F,
): Field<Fields<F>> {
  return (value, path) => {
    const known = Object.keys(fields);
    if (!isObject(value)) return refuse(path, `an object with ${known.join(", ")}`, value);
    const name = (key: string): string => (path === "" ? key : `${path}.${key}`);
    const unknown = Object.keys(value).find((key) => !Object.hasOwn(fields, key));
    if (unknown !== undefined) {
      const hint = known.length > 0 ? `known are ${known.join(", ")}` : "this op takes none";
      throw new ShapeError(`attribute ${name(unknown)}: unknown; ${hint}`);
    }
    const entries = Object.entries(fields).map(([key, field]) => {
      return [key, field(value[key], name(key))] as const;
    });
    // Each field's reader gives its declared type; fromEntries cannot say so.
    return Object.fromEntries(entries) as Fields<F>;
  };
}

/** What variants read to. */
type Variant<V> = {
  [K in keyof V & string]: { readonly kind: K } & Fields<V[K]>;
}[keyof V & string];

/** One of several objects, told apart by their `kind`, which stays part of the result. */
export function variants<V extends { readonly [kind: string]: FieldsByName }>(
  kinds: V,
): Field<Variant<V>> {
  const names = Object.keys(kinds);
  return (value, path) => {
    const kind = isObject(value) ? value["kind"] : undefined;
    const fields = typeof kind === "string" && Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
    if (fields === undefined || typeof kind !== "string") {
      return refuse(path, `an object whose kind is one of ${names.join(", ")}`, value);
    }
    return record({ kind: oneOf(kind), ...fields })(value, path) as Variant<V>;
  };
}

/** An op's attribute parser from its fields. */
export function attrsOf<F extends FieldsByName>(
  fields: F,
): (attrs: Attrs) => Fields<F> {
  const read = record(fields);
  return (attrs) => read(attrs, "");
}

/** The attributes of an op that has none. */
export interface NoAttrs {
  readonly [key: string]: never;
}

/** The parser of an op that has no attributes. */
export const noAttrs: (attrs: Attrs) => NoAttrs = attrsOf({});
