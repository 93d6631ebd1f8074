/** @file Public surface. */
export {};
