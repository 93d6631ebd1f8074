/** @file Public shapes by their names. */
import { knownShapes, type KnownShape } from "@mpk/models";
import { inputError, type MpkError } from "@mpk/runtime";

/** The shape of this name, if there is one. */
export function shapeNamed(name: string): KnownShape | undefined {
  const shapes = knownShapes();
  return Object.hasOwn(shapes, name) ? shapes[name] : undefined;
}

/** What is neither a path nor a shape; `kinds`: what else could have been named. */
export const noSuchModel = (name: string, kinds: string): MpkError =>
  inputError(
    `${name}: no such file or directory, and no shape known by this name`,
    `name ${kinds}, or one of ${Object.keys(knownShapes()).join(", ")}`,
  );
