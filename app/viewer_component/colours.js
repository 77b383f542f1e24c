// From values to colours. Scales are fixed, so that two cases can be compared by eye.

// Cividis, which reads in grey and with colour blindness (Nunez et al., 2018), at nine equal steps.
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#fee838"]
// Inferno's bright part: uncertainty stands out from grey anatomy.
const HEAT = ["#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4"]
// Blue and orange, which colour blindness keeps apart and dark scans do not swallow; the middle is left to the scan.
const APART = ["#1f6fff", "#7fb2ff", "#f2f2f2", "#ffb36b", "#ff7a00"]

export function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16))
}

function ramp(stops, share) {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1)
  const low = Math.min(Math.floor(at), stops.length - 2)
  const [one, two] = [rgb(stops[low]), rgb(stops[low + 1])]
  return one.map((v, channel) => Math.round(v + (two[channel] - v) * (at - low)))
}

// 256 colours with opacity, one for each byte of a layer; entry: 0xAABBGGRR as canvas memory has it.
export function table(layer) {
  const colours = new Uint32Array(256)
  const put = (index, [r, g, b], a) => (colours[index] = ((a << 24) | (b << 16) | (g << 8) | r) >>> 0)
  if (layer.kind === "labels") for (const label of layer.labels) put(label.index, rgb(label.colour), 255)
  if (layer.kind === "depth")
    for (let v = 1; v < 256; v += 1) put(v, ramp(CIVIDIS, v / layer.maximum), 255)
  if (layer.kind === "uncertainty")
    for (let v = 1; v < 256; v += 1) put(v, ramp(HEAT, v / 255), Math.min(255, 40 + v * 2))
  if (layer.kind === "evidence")
    for (let v = 0; v < 256; v += 1) {
      const share = Math.min(Math.max((v - layer.zero) / layer.steps, -1), 1)
      if (v !== layer.zero) put(v, ramp(APART, (share + 1) / 2), Math.min(255, 60 + Math.abs(share) * 390))
    }
  return colours
}

export function css(colours, value) {
  const c = colours[value]
  return `rgb(${c & 255}, ${(c >> 8) & 255}, ${(c >> 16) & 255})`
}
