// The 3D view: labelled brain as a volume, structures as surfaces, gate depth as an overlay (NiiVue, WebGL2).

import { rgb } from "../viewer_component/colours.js"
import { words } from "../viewer_component/controls.js"
import { loadCase, shown } from "../viewer_component/volume.js"
import { brain, depthOf, nifti } from "./texture.js"
import { boxes, surfaceOf } from "./surface.js"

const START = "Hippocampus"
const VIEW = { azimuth: 120, elevation: 15, scale: 1.3 } // from the patient's front left; a brain fills most of its scan
const XRAY = 0.6 // how much of a surface shines through the brain around it
const TURN_DEG = 10
const BAR = `
<div class="bar" role="toolbar" aria-label="3D tools">
  <label><input data-is="volume" type="checkbox" checked> Brain</label>
  <label><input data-is="depth" type="checkbox"> Gate depth</label>
  <label>Surfaces <select data-is="structure"></select></label>
  <label>Brain opacity <input data-is="opacity" type="range" min="0.05" max="1" step="0.05" value="0.7"></label>
  <button type="button" data-is="reset">Reset</button>
</div>
<div class="space"><canvas tabindex="0" role="application" aria-label="3D view. Drag or arrow keys turn it, the wheel zooms."></canvas></div>
<p class="note" data-is="note" role="status"></p>`
const NOTE = "Only labelled voxels are drawn, so no face is shown. Surfaces are relaxed for the eye; volumes are counted in voxels."
const NO_WEBGL = "This browser offers no WebGL2, so there is no 3D view. The planes under “Slices” show everything that it would."

const mounted = new WeakMap()

export default function ({ data, parentElement }) {
  const before = mounted.get(parentElement)
  if (before?.address === data.address) return before.end
  before?.end()
  const stop = new AbortController()
  const host = parentElement.appendChild(Object.assign(document.createElement("section"), { className: "lnn-render" }))
  host.setAttribute("aria-label", "3D view")
  const end = () => {
    stop.abort()
    host.remove()
    mounted.delete(parentElement)
  }
  mounted.set(parentElement, { address: data.address, end })
  whenSeen(host, () => start(host, data, stop.signal), stop.signal)
  return end
}

// Nothing is loaded, and WebGL not asked for, before the tab is opened.
function whenSeen(host, act, signal) {
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return
    watch.disconnect()
    if (!document.createElement("canvas").getContext("webgl2")) return say(host, NO_WEBGL, "none")
    say(host, "Loading the 3D view …", "loading")
    act().catch((error) => say(host, `The 3D view cannot be shown: ${error.message}.`, "failed"))
  })
  host.style.minHeight = "2rem"
  watch.observe(host)
  signal.addEventListener("abort", () => watch.disconnect())
}

function say(host, text, state) {
  host.dataset.state = state
  host.replaceChildren(Object.assign(document.createElement("p"), { textContent: text, className: "note" }))
  host.firstChild.setAttribute("role", "status")
}

async function start(host, data, signal) {
  await import(data.library)
  const { Niivue, NVImage, NVMesh } = globalThis.niivue
  const volume = shown.get(data.address) ?? (await loadCase(data.address, () => {}))
  if (signal.aborted) return
  host.innerHTML = BAR
  const parts = Object.fromEntries([...host.querySelectorAll("[data-is]")].map((part) => [part.dataset.is, part]))
  const canvas = host.querySelector("canvas")
  const nv = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: false, isOrientCube: true, logLevel: "error", loadingText: "", dragAndDropEnabled: false, viewModeHotKey: "", meshXRay: XRAY, isOrientationTextVisible: true })
  await nv.attachToCanvas(canvas)
  const add = async (image, name, colours, opacity, range) =>
    nv.addVolume(await NVImage.new(nifti(NVImage, volume, image), name, colours, opacity, null, ...range, true, 0, false, false, "", 0, 0, NaN, NaN, false))
  await add(brain(volume), "brain.nii", "gray", 0.7, [20, 255])
  const depth = volume.layer("depth")
  if (depth) await add(depthOf(volume, depth), "depth.nii", "cividis", 0, [0, depth.maximum])
  parts.depth.disabled = !depth
  nv.setSliceType(nv.sliceTypeRender)
  look(nv)
  connect(nv, parts, canvas, surfaces(nv, NVMesh, volume), signal)
  parts.note.textContent = NOTE
  signal.addEventListener("abort", () => nv.cleanup())
  host.render = nv
  host.dataset.state = "ready"
}

function look(nv) {
  nv.setScale(VIEW.scale)
  nv.setRenderAzimuthElevation(VIEW.azimuth, VIEW.elevation)
}

// Surfaces of the structures whose name begins so, made when they are asked for.
function surfaces(nv, NVMesh, volume) {
  const layer = volume.layer("hippocampus") ?? volume.layers.find((one) => one.kind === "labels")
  const coarse = volume.layers.find((one) => one.kind === "labels")
  const entries = [...new Set([layer, coarse])].flatMap((one) => one.labels.map((label) => ({ ...label, data: volume.data[one.file] })))
  const found = new Map()
  const show = (wanted) => {
    for (const mesh of [...nv.meshes]) nv.removeMesh(mesh)
    const chosen = entries.filter((label) => label.point_mm && (wanted === START ? label.name.startsWith(START) : label.name === wanted))
    const fine = chosen.filter((label) => label.data === volume.data[layer.file])
    for (const label of fine.length ? fine : chosen) {
      if (!found.has(label.data)) found.set(label.data, boxes(label.data, volume.shape))
      const box = found.get(label.data).get(label.index)
      if (!box) continue
      const { points, triangles } = surfaceOf(volume, label.data, label.index, box)
      nv.addMesh(new NVMesh(points, triangles, label.name, Uint8Array.of(...rgb(label.colour), 255), 1, true, nv.gl))
    }
    nv.drawScene()
  }
  return { show, names: entries.filter((label) => label.point_mm).map((label) => label.name) }
}

function connect(nv, parts, canvas, meshes, signal) {
  const on = (part, event, act) => part.addEventListener(event, act, { signal })
  const options = [[START, "hippocampus"], ["", "none"], ...meshes.names.map((name) => [name, words(name)])]
  parts.structure.replaceChildren(...options.map(([value, textContent]) => Object.assign(document.createElement("option"), { value, textContent })))
  const opacity = () => {
    nv.setOpacity(0, parts.volume.checked ? Number(parts.opacity.value) : 0)
    if (nv.volumes.length > 1) nv.setOpacity(1, parts.depth.checked ? 0.6 : 0)
  }
  on(parts.volume, "change", opacity)
  on(parts.depth, "change", opacity)
  on(parts.opacity, "input", opacity)
  on(parts.structure, "change", () => meshes.show(parts.structure.value))
  on(parts.reset, "click", () => look(nv))
  on(canvas, "keydown", (event) => {
    const turn = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key]
    if (!turn) return
    event.preventDefault()
    nv.setRenderAzimuthElevation(nv.scene.renderAzimuth + turn[0] * TURN_DEG, nv.scene.renderElevation + turn[1] * TURN_DEG)
  })
  opacity()
  meshes.show(START)
}
