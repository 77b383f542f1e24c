// Buttons, lists and texts around the planes.

import { css } from "./colours.js"
import { KEYS } from "./pointer.js"
import { counted } from "./volume.js"

export const LAYER_WORDS = {
  segmentation: "Structures",
  hippocampus: "Hippocampus, fine",
  depth: "Gate depth",
  uncertainty: "Uncertainty",
  evidence: "Evidence",
}
const WINDOWS = { Standard: [0, 1], "High contrast": [0.25, 0.75], "Low contrast": [-0.25, 1.25], Bright: [0, 0.7] }
const CONTROLS = `
<div class="bar" role="toolbar" aria-label="Image tools">
  <label>Layer <select data-is="layer"></select></label>
  <label>Opacity <input data-is="opacity" type="range" min="0" max="1" step="0.05"></label>
  <button type="button" data-is="outline" aria-pressed="true">Outline</button>
  <label>Window <select data-is="window"></select></label>
  <label>Drag <select data-is="mode"><option value="point">crosshair</option><option value="window">window</option><option value="pan">shift</option><option value="brush" hidden>brush</option></select></label>
  <button type="button" data-is="convention"></button>
  <label>Go to <select data-is="jump"></select></label>
  <button type="button" data-is="reset">Reset</button>
  <button type="button" data-is="picture">Picture</button>
  <button type="button" data-is="edit" aria-pressed="false" hidden>Edit</button>
  <button type="button" data-is="help" aria-expanded="false">Keys</button>
</div>
<div class="keys" data-is="keys" hidden></div>
<div class="planes" data-is="planes"></div>
`

export function words(name) {
  const parts = name.split("_")
  const side = parts.includes("L") ? "left" : parts.includes("R") ? "right" : ""
  const rest = parts.filter((part) => part !== "L" && part !== "R").join(" ")
  const spaced = rest.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/(\d(?:rd|th))([A-Z])/, "$1 $2")
  return side ? `${spaced}, ${side}` : spaced
}

export function build(root) {
  root.innerHTML = CONTROLS
  const parts = Object.fromEntries([...root.querySelectorAll("[data-is]")].map((part) => [part.dataset.is, part]))
  parts.canvases = {}
  for (const name of ["axial", "coronal", "sagittal"]) {
    const canvas = document.createElement("canvas")
    Object.assign(canvas, { tabIndex: 0, className: "plane" })
    canvas.dataset.plane = name
    canvas.setAttribute("role", "application")
    canvas.setAttribute("aria-label", `${name} plane. Arrow keys move the crosshair, Page Up and Page Down change the slice.`)
    parts.planes.append(canvas)
    parts.canvases[name] = canvas
  }
  const side = Object.assign(element("div", "side"), { tabIndex: 0 }) // it scrolls, so the keyboard must reach it
  side.setAttribute("role", "group")
  side.setAttribute("aria-label", "Values and legend")
  parts.readout = side.appendChild(element("dl", "readout"))
  parts.readout.setAttribute("aria-live", "polite")
  parts.legend = side.appendChild(element("div", "legend"))
  parts.note = side.appendChild(element("p", "note"))
  parts.planes.append(side)
  parts.keys.innerHTML = `<dl>${KEYS.map(([keys, what]) => `<dt>${keys}</dt><dd>${what}</dd>`).join("")}</dl>`
  return parts
}

export function connect(parts, viewer, signal) {
  const { volume } = viewer
  const on = (part, event, act) => parts[part].addEventListener(event, act, { signal })
  fill(parts.layer, [["", "none"], ...volume.layers.map((layer) => [layer.id, LAYER_WORDS[layer.id] ?? layer.id])])
  fill(parts.window, [["", "as set"], ...Object.keys(WINDOWS).map((name) => [name, name])])
  fill(parts.jump, jumps(volume))
  parts.window.value = "Standard"
  on("layer", "change", () => viewer.set({ layer: parts.layer.value }))
  on("opacity", "input", () => viewer.set({ opacity: Number(parts.opacity.value) }))
  on("outline", "click", () => viewer.set({ outline: !viewer.state.outline }))
  on("window", "change", () => parts.window.value && viewer.set({ window: preset(volume, parts.window.value) }))
  on("convention", "click", () => viewer.set({ radiological: !viewer.state.radiological }))
  on("jump", "change", () => {
    if (parts.jump.value) viewer.goTo(parts.jump.value.split(" ").map(Number))
    parts.jump.value = ""
  })
  on("reset", "click", () => viewer.reset())
  on("help", "click", () => {
    parts.keys.hidden = !parts.keys.hidden
    parts.help.setAttribute("aria-expanded", String(!parts.keys.hidden))
  })
}

function preset(volume, name) {
  const [low, high] = volume.meta.scan.window
  return WINDOWS[name].map((share) => low + share * (high - low))
}

function jumps(volume) {
  const places = [["", "…"]]
  const { deepest, uncertain } = volume.meta.points
  if (deepest) places.push([deepest.join(" "), "deepest point"])
  if (uncertain) places.push([uncertain.join(" "), "largest uncertainty"])
  for (const layer of volume.layers)
    for (const label of layer.labels ?? []) if (label.point_mm) places.push([label.point_mm.join(" "), words(label.name)])
  return places
}

export function show(parts, viewer, structures) {
  const { state, volume } = viewer
  parts.layer.value = state.layer
  parts.opacity.value = String(state.opacity)
  parts.outline.textContent = state.outline ? "Outline" : "Filled"
  parts.outline.setAttribute("aria-pressed", String(state.outline))
  parts.convention.textContent = state.radiological ? "Radiological" : "Neurological"
  parts.convention.title = state.radiological ? "The patient's right is on the left of the picture" : "The patient's right is on the right of the picture"
  const standard = Object.keys(WINDOWS).find((name) => same(preset(volume, name), state.window))
  parts.window.value = standard ?? ""
  readout(parts.readout, viewer, structures)
  viewer.editor?.show?.()
  if (parts.legendOf !== state.layer) {
    legend(parts.legend, viewer)
    parts.legendOf = state.layer
  }
  const tilt = volume.meta.tilt_deg
  parts.note.textContent = `${state.radiological ? "Radiological: the patient's right is on the left of the picture." : "Neurological: the patient's right is on the right of the picture."}${tilt > 5 ? ` The scan's axes are tilted by up to ${tilt}°; letters name the nearest direction.` : ""}`
}

function same(one, two) {
  return one.every((value, at) => Math.abs(value - two[at]) < 1e-6 * (1 + Math.abs(value)))
}

function readout(list, viewer, structures) {
  const { volume, state } = viewer
  const at = state.point
  const mm = volume.toMm(at)
  const rows = [
    ["Position", `${mm.map(signed).join(", ")} mm (RAS)`, "mm"],
    ["Voxel", volume.fileVoxel(at).join(", "), "voxel"],
    ["Value", short(volume.value(at)), "value"],
  ]
  for (const layer of volume.layers) {
    const code = volume.data[layer.file][volume.offset(at)]
    if (layer.kind === "labels") {
      const label = volume.labelAt(layer.id, at)
      const volumeWords = label ? structures[`${layer.id}/${label.name}`] : ""
      rows.push([LAYER_WORDS[layer.id], label ? words(label.name) + (volumeWords ? ` (${volumeWords})` : "") : "none", layer.id])
    }
    if (layer.kind === "depth") {
      const known = layer.values.find((one) => one.blocks === code)
      rows.push(["Gate depth", `${code} blocks: ${known ? known.words : ""}`, "depth"])
    }
    if (layer.kind === "uncertainty") rows.push(["Uncertainty", `${((code / 255) * layer.maximum).toFixed(2)} nats`, "uncertainty"])
    if (layer.kind === "evidence") rows.push(["Evidence", `${logOdds(layer, code)} log-odds of the place`, "evidence"])
  }
  list.replaceChildren(...rows.flatMap(([name, text, id]) => [element("dt", "", name), Object.assign(element("dd", "", text), { id: `readout-${id}` })]))
}

// What a code stands for; at the ends of the scale it may be more.
function logOdds(layer, code) {
  const steps = code - layer.zero
  const value = ((steps / layer.steps) * layer.maximum).toFixed(4)
  const beyond = Math.abs(steps) === layer.steps ? (steps > 0 ? "≥ " : "≤ ") : ""
  return beyond + (steps > 0 ? `+${value}` : value.replace("-", "−"))
}

function signed(value) {
  return (value + 0).toFixed(1).replace(/^-(?!0\.0$)/, "−").replace(/^-/, "")
}

function short(value) {
  return Number.isInteger(value) ? counted(value) : value.toPrecision(5)
}

function legend(box, viewer) {
  const layer = viewer.activeLayer
  box.replaceChildren()
  if (!layer) return
  const colours = viewer.colours(layer)
  const rows = []
  if (layer.kind === "labels") for (const label of layer.labels.filter((one) => one.point_mm)) rows.push([label.colour, words(label.name)])
  if (layer.kind === "depth") for (const one of layer.values) rows.push([one.blocks ? css(colours, one.blocks) : "transparent", `${one.blocks}: ${one.words}`])
  box.append(element("p", "title", legendTitle(layer)))
  if (layer.kind !== "labels") box.append(scaleBar(layer, colours))
  const list = box.appendChild(element("ul", ""))
  for (const [colour, text] of rows) {
    const row = list.appendChild(element("li", ""))
    row.appendChild(element("span", "swatch")).style.background = colour
    row.append(text)
  }
}

function legendTitle(layer) {
  if (layer.kind === "depth") return `Residual blocks executed at each voxel, 0 to ${layer.maximum}: the same scale for every case`
  if (layer.kind === "uncertainty") return `Entropy, 0 to ${layer.maximum.toFixed(2)} nats (two labels equally likely): the same scale for every case`
  if (layer.kind === "evidence") return `The network's evidence, log-odds of each place, −${layer.maximum} (blue: against a dementia rating) to +${layer.maximum} (orange: for it): the same scale for every case. No finding`
  return LAYER_WORDS[layer.id] ?? layer.id
}

function scaleBar(layer, colours) {
  const last = layer.kind === "depth" ? layer.maximum : 255
  const steps = Array.from({ length: 24 }, (_, at) => css(colours, Math.max(1, Math.round((at / 23) * last)))) // even: never at 0 evidence
  const bar = element("div", "scale")
  bar.style.background = `linear-gradient(to right, ${steps.join(",")})`
  return bar
}

function fill(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })))
}

function element(kind, name, text = "") {
  return Object.assign(document.createElement(kind), { className: name, textContent: text })
}
