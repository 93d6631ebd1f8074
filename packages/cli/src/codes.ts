/** @file What the exit codes mean. */

/** The process's exit code by outcome; `mpk --help` lists them. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  badInput: 2,
  environment: 3,
  interrupted: 130,
} as const;

export const exitCodesHelp = `
Exit codes:
  0    success
  1    a law of the plan is violated, the kernel failed, or what was checked is not as it must be
  2    bad input: an argument, a file or a checkpoint
  3    this machine lacks something: driver, GPU, compiler
  130  interrupted (Ctrl-C); what was running has stopped cleanly`;
