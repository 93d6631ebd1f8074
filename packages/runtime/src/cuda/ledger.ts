/** @file What is held on a GPU: freed together, or what is newer than a mark, the last first. */
import { CuResult, type Driver } from "./driver.ts";

/** A stream, event, module or function handle, or an address. */
export type Handle = bigint;

type FreeCall =
  | "cuDevicePrimaryCtxRelease_v2" | "cuMemFree_v2" | "cuMemFreeHost" | "cuStreamDestroy_v2"
  | "cuEventDestroy_v2" | "cuModuleUnload";

/** What a device holds, and what the driver said when some of it was given back. */
export function ledger(driver: Driver) {
  const owned = new Map<Handle, { readonly serial: number; readonly free: () => void }>();
  let serial = 0;
  let complaint: Error | null = null;
  const giveBack = (name: FreeCall, handle: Handle | number): void => {
    const code = driver.result(name, handle);
    if (code !== CuResult.success) complaint ??= driver.error(name, code);
  };
  const disown = (handle: Handle) => {
    owned.get(handle)?.free();
    owned.delete(handle);
  };
  return {
    own(handle: Handle, name: FreeCall): Handle {
      owned.set(handle, { serial: serial++, free: () => giveBack(name, handle) });
      return handle;
    },
    disown,
    giveBack,
    mark: () => serial,
    freeSince(mark: number): void {
      for (const [handle, one] of [...owned].toReversed()) if (one.serial >= mark) disown(handle);
    },
    complaint: () => complaint,
  };
}
