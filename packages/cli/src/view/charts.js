/** @file Bandwidth and rings over time, under the lanes. */
import { bytesText, data } from "./load.js";
import { usedBin } from "./runs.js";

/* Values of a list of bins, mean over each pixel. */
function sampled(bins, binNanos, view, width) {
  const found = new Float64Array(width);
  for (let x = 0; x < width; x++) {
    const from = (view.from + x * view.perPixel) / binNanos;
    const to = Math.max(from + 1e-6, (view.from + (x + 1) * view.perPixel) / binNanos);
    let sum = 0;
    for (let bin = Math.floor(from); bin < to; bin++) {
      const share = Math.min(to, bin + 1) - Math.max(from, bin);
      sum += (bins[bin] ?? 0) * share;
    }
    found[x] = sum / (to - from);
  }
  return found;
}

/* Share of SMs whose ring is full, by bin of a microsecond; made once a run. */
function fullShares(run) {
  if (run.fullShares !== undefined) return run.fullShares;
  const bins = new Float64Array(Math.max(1, Math.ceil(run.stepNanos / 1000)));
  for (const list of run.full) {
    for (let i = 0; i < list.length; i += 2) {
      for (let bin = Math.floor(list[i] / 1000); bin < bins.length && bin * 1000 < list[i + 1]; bin++) {
        const overlap = Math.min(list[i + 1], (bin + 1) * 1000) - Math.max(list[i], bin * 1000);
        if (overlap > 0) bins[bin] += overlap / 1000;
      }
    }
  }
  run.fullShares = bins.map((nanos) => nanos / data.sms);
  return run.fullShares;
}

/* The two curves of a run: each from 0 to 1 of what is most. */
export function curvesOf(run) {
  const most = data.readBytesPerSecond / 1e9;
  const { series } = run;
  const rate = series === null
    ? { name: "weights used, TB/s", bins: run.used, nanos: usedBin, most: most * usedBin }
    : { name: "read from memory, TB/s", bins: series.read, nanos: series.binNanos,
      most: most * series.binNanos };
  const ring = series === null
    ? { name: "rings full, share of SMs", bins: fullShares(run), nanos: 1000, most: 1, unit: 1 }
    : { name: "in rings, mean of SMs", bins: series.held, nanos: series.binNanos,
      most: data.sms * data.ringBytes, unit: data.ringBytes };
  return [{ ...rate, unit: data.readBytesPerSecond / 1e12 }, ring];
}

export function drawChart(pen, curve, view, left, top, width, height, ink, colour) {
  const values = sampled(curve.bins, curve.nanos, view, width);
  pen.strokeStyle = ink.line;
  pen.lineWidth = 1;
  pen.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
  pen.beginPath();
  pen.moveTo(left, top + height);
  values.forEach((value, x) => {
    const share = Math.min(1.05, value / curve.most);
    pen.lineTo(left + x + 0.5, top + height - share * (height - 12));
  });
  pen.lineTo(left + width, top + height);
  pen.closePath();
  pen.globalAlpha = 0.35;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
  pen.strokeStyle = colour;
  pen.stroke();
  pen.fillStyle = ink.soft;
  pen.textAlign = "left";
  pen.textBaseline = "top";
  const unit = curve.unit === 1 ? "100 %" : curve.unit > 1000 ? bytesText(curve.unit) :
    curve.unit.toFixed(2);
  pen.fillText(`${curve.name}; top line ${unit}`, left + 4, top + 1);
  pen.setLineDash([3, 3]);
  pen.strokeStyle = ink.line;
  pen.beginPath();
  pen.moveTo(left, top + 12.5);
  pen.lineTo(left + width, top + 12.5);
  pen.stroke();
  pen.setLineDash([]);
  return values;
}
