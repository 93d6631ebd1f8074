/** @file The process in which a setting is measured or built; `apart.ts` starts it. */
import { serve } from "./apart.ts";

serve(process.env);
