/** @file What the simulator must know of a GPU, measured there. */
export {
  calibrate, calibrationContext, calibrationTokens, type Calibration,
  type CalibrateRequest, type Measured,
} from "./calibrate.ts";
export {
  errorPercent, fitCosts, fitErrors, predictor, type Observation, type Predicted,
} from "./fit.ts";
export { buildForGpu, measureOnGpu } from "./gpu.ts";
export { leastSquares } from "./least-squares.ts";
