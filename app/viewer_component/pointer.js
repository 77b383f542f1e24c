// Mouse, touch and keyboard on one plane.

const WINDOW_PER_PX = 0.004
const PINCH_MIN_PX = 12

export const KEYS = [
  ["arrow keys", "move the crosshair by one voxel in the plane"],
  ["Page Up, Page Down", "next, previous slice (also the wheel)"],
  ["Shift + arrows", "shift the picture (also middle button or Shift + drag)"],
  ["+ and −", "zoom (also Ctrl + wheel, pinch)"],
  ["W, S", "window wider, narrower (also right button + drag)"],
  ["E, D", "brighter, darker"],
  ["0 … 5", "layer: none, first, second, …"],
  ["O", "outline or filled"],
  ["[ and ]", "overlay weaker, stronger"],
  ["N", "radiological or neurological"],
  ["C", "crosshair on or off"],
  ["G, U", "go to the deepest, the most uncertain point"],
  ["B", "brush on or off, where labels may be edited"],
  ["Space, Z", "paint at the crosshair with the brush, undo"],
  ["R", "reset zoom, shift and window (also double click)"],
]

export function listen(plane, viewer, mode, signal) {
  const { canvas } = plane
  const held = new Map()
  let gesture = null
  const place = (event) => {
    const box = canvas.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }
  const options = { signal }

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault()
    if (event.ctrlKey) viewer.zoom(plane, Math.exp(-event.deltaY * 0.002), ...place(event))
    else viewer.scroll(plane, event.deltaY < 0 ? 1 : -1)
  }, { ...options, passive: false })

  canvas.addEventListener("contextmenu", (event) => event.preventDefault(), options)

  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault()
    canvas.focus({ preventScroll: true })
    canvas.setPointerCapture(event.pointerId)
    held.set(event.pointerId, place(event))
    const button = event.button === 2 ? "window" : event.button === 1 || event.shiftKey ? "pan" : mode()
    gesture = { kind: button, from: place(event) }
    if (gesture.kind === "point") pick(...place(event))
    if (gesture.kind === "brush") brush(place(event))
  }, options)

  canvas.addEventListener("pointermove", (event) => {
    if (!held.has(event.pointerId)) return
    const now = place(event), before = held.get(event.pointerId)
    if (held.size === 2) pinch(event.pointerId, now)
    else if (gesture?.kind === "point") pick(...now)
    else if (gesture?.kind === "brush") brush(now)
    else if (gesture?.kind === "pan") viewer.shift(plane, now[0] - before[0], now[1] - before[1])
    else if (gesture?.kind === "window") viewer.changeWindow((now[0] - before[0]) * WINDOW_PER_PX, (before[1] - now[1]) * WINDOW_PER_PX)
    held.set(event.pointerId, now)
  }, options)

  const release = (event) => {
    held.delete(event.pointerId)
    if (held.size) return
    if (gesture?.kind === "brush") viewer.editor.end()
    gesture = null
  }
  canvas.addEventListener("pointerup", release, options)
  canvas.addEventListener("pointercancel", release, options)
  canvas.addEventListener("dblclick", () => mode() !== "brush" && viewer.reset(), options)
  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey || event.ctrlKey) return
    if (key(plane, viewer, event)) event.preventDefault()
  }, options)

  function pick(x, y) {
    const point = plane.voxelAt(x, y)
    if (point) viewer.set({ point })
  }

  function brush([x, y]) {
    const point = plane.voxelAt(x, y)
    if (!point) return
    if (!gesture.last) viewer.editor.begin()
    if (gesture.last) viewer.editor.drag(plane, gesture.last, point)
    else viewer.editor.paint(plane, point)
    gesture.last = point
  }

  function pinch(id, now) {
    const [other] = [...held.entries()].filter(([one]) => one !== id).map(([, at]) => at)
    const before = held.get(id)
    const was = distance(before, other), is = distance(now, other)
    if (was > PINCH_MIN_PX && is > PINCH_MIN_PX) viewer.zoom(plane, is / was, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2)
    viewer.shift(plane, (now[0] - before[0]) / 2, (now[1] - before[1]) / 2)
    if (gesture?.kind === "brush") viewer.editor.end()
    gesture = { kind: "pinch" }
  }
}

function distance(one, two) {
  return Math.hypot(one[0] - two[0], one[1] - two[1])
}

function key(plane, viewer, event) {
  const { state } = viewer
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]
  if (step && event.shiftKey) viewer.shift(plane, step[0] * 20, step[1] * 20)
  else if (step) {
    const point = [...state.point]
    point[plane.across] += step[0] * (plane.flipped ? -1 : 1)
    point[plane.down] -= step[1]
    viewer.set({ point })
  } else return letter(plane, viewer, event.key.toLowerCase())
  return true
}

function letter(plane, viewer, pressed) {
  const { state, volume } = viewer
  const middle = [plane.canvas.clientWidth / 2, plane.canvas.clientHeight / 2]
  const actions = {
    pageup: () => viewer.scroll(plane, 1),
    pagedown: () => viewer.scroll(plane, -1),
    "+": () => viewer.zoom(plane, 1.25, ...middle),
    "=": () => viewer.zoom(plane, 1.25, ...middle),
    "-": () => viewer.zoom(plane, 0.8, ...middle),
    w: () => viewer.changeWindow(0.1, 0),
    s: () => viewer.changeWindow(-0.1, 0),
    e: () => viewer.changeWindow(0, 0.05),
    d: () => viewer.changeWindow(0, -0.05),
    o: () => viewer.set({ outline: !state.outline }),
    "[": () => viewer.set({ opacity: Math.max(0, state.opacity - 0.1) }),
    "]": () => viewer.set({ opacity: Math.min(1, state.opacity + 0.1) }),
    n: () => viewer.set({ radiological: !state.radiological }),
    c: () => viewer.set({ crosshair: !state.crosshair }),
    g: () => volume.meta.points.deepest && viewer.goTo(volume.meta.points.deepest),
    u: () => volume.meta.points.uncertain && viewer.goTo(volume.meta.points.uncertain),
    r: () => viewer.reset(),
    0: () => viewer.set({ layer: "" }),
    b: () => viewer.editor?.toggle(),
    z: () => viewer.editor?.undo(),
    " ": () => viewer.editor?.on && dab(plane, viewer),
  }
  if (/^[1-9]$/.test(pressed)) {
    const layer = volume.layers[Number(pressed) - 1]
    if (!layer) return false
    viewer.set({ layer: layer.id })
    return true
  }
  if (!Object.hasOwn(actions, pressed)) return false
  actions[pressed]()
  return true
}

function dab(plane, viewer) {
  viewer.editor.begin()
  viewer.editor.paint(plane, viewer.state.point)
  viewer.editor.end()
}
