/** @file How a model of ours gets its numbers: from standard input, each under a name. */

/** Promela text that declares numbers `names`, which `readGiven` reads in this order. */
export const given = (...names: readonly string[]): string => `
c_decl {
  static void mpk_read(short *to) {
    int i;
    for (i = 0; i < ${names.length}; i++) if (scanf("%hd", to + i) != 1) exit(90);
  }
}
hidden short given[${names.length}];
${names.map((name, i) => `#define ${name} given[${i}]`).join("\n")}`;

/** The statement that reads them; a model's first. */
export const readGiven = "c_code { mpk_read(given); }";
