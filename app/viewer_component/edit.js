// The brush: a reader's changes to a label map, kept as a list of voxels until they are handed over.

import { words } from "./controls.js"
import { counted } from "./volume.js"

export const BYTES = 5 // of one voxel on its way: offset and label
const BAR = `
<label>Paint <select data-is="brush"></select></label>
<label>Brush, mm <input data-is="size" type="range" min="1" max="20" step="1" value="4"> <output data-is="sizeWords"></output></label>
<button type="button" data-is="undo">Undo</button>
<button type="button" data-is="discard">Discard</button>
<button type="button" data-is="hand" class="main">Hand over</button>
<span data-is="changed" role="status"></span>`

export class Editor {
  constructor(viewer, address, tell) {
    Object.assign(this, { viewer, address, tell, on: false, label: 0, sizeMm: 4 })
    this.original = new Map() // layer id -> Map of offset -> label before any edit
    this.strokes = [] // each: layer id and Map of offset -> label before the stroke
    this.stroke = null
    this.handed = true // nothing that the server does not have
  }

  // Edits that were handed over before, so that a page that is loaded again shows them.
  async load(signal) {
    for (const layer of this.layers) {
      const answer = await fetch(`${this.address}/${layer.id}`, { credentials: "same-origin", cache: "no-store", signal })
      if (answer.status !== 200) continue
      const bytes = await answer.arrayBuffer()
      const count = Math.floor(bytes.byteLength / BYTES)
      const offsets = new Uint32Array(bytes, 0, count), labels = new Uint8Array(bytes, 4 * count, count)
      for (let at = 0; at < count; at += 1) this.put(layer, offsets[at], labels[at])
    }
    this.refresh()
  }

  get layers() {
    return this.viewer.volume.layers.filter((layer) => layer.kind === "labels")
  }

  // The label map that is shown, or the first one.
  get layer() {
    const shown = this.viewer.activeLayer
    return shown?.kind === "labels" ? shown : this.layers[0]
  }

  get changed() {
    return [...this.original.values()].reduce((sum, changes) => sum + changes.size, 0)
  }

  put(layer, offset, label) {
    const data = this.viewer.volume.data[layer.file]
    if (!this.original.has(layer.id)) this.original.set(layer.id, new Map())
    const changes = this.original.get(layer.id)
    if (!changes.has(offset)) changes.set(offset, data[offset])
    if (changes.get(offset) === label) changes.delete(offset)
    data[offset] = label
  }

  begin() {
    this.stroke = { layer: this.layer, before: new Map() }
  }

  // A disc in the plane, round in millimetres; the voxel at its middle is always painted.
  paint(plane, point) {
    const { volume } = this.viewer
    const { layer, before } = this.stroke
    const data = volume.data[layer.file]
    const radius = this.sizeMm / 2
    const reach = [plane.across, plane.down].map((axis) => Math.floor(radius / volume.spacing[axis]))
    for (let a = -reach[0]; a <= reach[0]; a += 1)
      for (let d = -reach[1]; d <= reach[1]; d += 1) {
        if (Math.hypot(a * volume.spacing[plane.across], d * volume.spacing[plane.down]) > radius) continue
        const at = [...point]
        at[plane.across] += a
        at[plane.down] += d
        if (at.some((v, axis) => v < 0 || v >= volume.shape[axis])) continue
        const offset = volume.offset(at)
        if (data[offset] === this.label) continue
        if (!before.has(offset)) before.set(offset, data[offset])
        this.put(layer, offset, this.label)
      }
    this.handed = false
    this.refresh()
  }

  // Between two places of the pointer, so that a quick stroke has no gaps.
  drag(plane, from, to) {
    const steps = Math.max(1, ...to.map((v, axis) => Math.abs(v - from[axis])))
    for (let step = 1; step <= steps; step += 1)
      this.paint(plane, from.map((v, axis) => Math.round(v + ((to[axis] - v) * step) / steps)))
  }

  end() {
    if (this.stroke?.before.size) this.strokes.push(this.stroke)
    this.stroke = null
    this.refresh()
  }

  undo() {
    const last = this.strokes.pop()
    if (!last) return
    for (const [offset, label] of last.before) this.put(last.layer, offset, label)
    this.handed = false
    this.refresh()
  }

  discard() {
    for (const layer of this.layers) for (const [offset, label] of [...(this.original.get(layer.id) ?? [])]) this.put(layer, offset, label)
    this.strokes = []
    return this.hand()
  }

  async hand() {
    for (const layer of this.layers) {
      const answer = await fetch(`${this.address}/${layer.id}`, { method: "PUT", body: this.message(layer), headers: { "x-lnn-med": "edit" }, credentials: "same-origin" })
      if (!answer.ok) throw new Error(`the edit was not taken (status ${answer.status})`)
    }
    this.handed = true
    this.refresh()
    this.tell("edited", Date.now())
  }

  message(layer) {
    const { volume } = this.viewer
    const offsets = Uint32Array.from(this.original.get(layer.id)?.keys() ?? []).sort()
    return new Blob([offsets, Uint8Array.from(offsets, (offset) => volume.data[layer.file][offset])])
  }

  refresh() {
    for (const plane of this.viewer.planes) plane.stale = true
    this.viewer.redraw()
  }
}

export function addBar(box, parts, editor, signal) {
  const bar = Object.assign(document.createElement("div"), { className: "bar edit", hidden: true, innerHTML: BAR })
  bar.setAttribute("role", "group")
  bar.setAttribute("aria-label", "Edit labels")
  parts.planes.before(bar)
  const own = Object.fromEntries([...bar.querySelectorAll("[data-is]")].map((part) => [part.dataset.is, part]))
  const on = (part, event, act) => part.addEventListener(event, act, { signal })
  let filled = ""
  editor.show = () => {
    const { layer } = editor
    if (filled !== layer.id) fill(own.brush, layer)
    if (filled !== layer.id) editor.label = Number(own.brush.value)
    filled = layer.id
    bar.hidden = !editor.on
    parts.edit.setAttribute("aria-pressed", String(editor.on))
    own.brush.value = String(editor.label)
    own.sizeWords.textContent = String(editor.sizeMm)
    own.undo.disabled = !editor.strokes.length
    own.hand.disabled = editor.handed
    own.changed.textContent = `${counted(editor.changed)} voxels changed${editor.handed ? "" : ", not handed over"}`
  }
  const toggle = () => {
    editor.on = !editor.on
    parts.mode.value = editor.on ? "brush" : "point"
    if (editor.on) editor.viewer.set({ layer: editor.layer.id })
    editor.viewer.redraw()
  }
  editor.toggle = toggle
  on(parts.edit, "click", toggle)
  on(own.brush, "change", () => (editor.label = Number(own.brush.value)))
  on(own.size, "input", () => {
    editor.sizeMm = Number(own.size.value)
    editor.show()
  })
  const failed = (error) => (own.changed.textContent = `Not handed over: ${error.message}.`)
  on(own.undo, "click", () => editor.undo())
  on(own.discard, "click", () => editor.discard().catch(failed))
  on(own.hand, "click", () => editor.hand().catch(failed))
}

function fill(select, layer) {
  const entries = [...layer.labels.map((label) => [label.index, words(label.name)]), [0, "erase"]]
  select.replaceChildren(...entries.map(([value, textContent]) => Object.assign(document.createElement("option"), { value, textContent })))
}
