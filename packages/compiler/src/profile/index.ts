/** @file Where a step's time goes, from the kernel's own profile. */
export { accountsOf, opName, spansOf, windowOf, type Accounts, type Cost, type Row } from "./accounts.ts";
export { partNames, parts, type Part, type Span } from "./timeline.ts";
export { traceOf } from "./trace.ts";
