// The component's entry: called by Streamlit at each run of the page with the same data or new.

import { build, connect, show } from "./controls.js"
import { Editor, addBar } from "./edit.js"
import { savePicture } from "./picture.js"
import { listen } from "./pointer.js"
import { Viewer } from "./viewer.js"
import { loadCase, shown } from "./volume.js"

const mounted = new WeakMap()

export default function ({ data, parentElement, setTriggerValue, setStateValue }) {
  const before = mounted.get(parentElement)
  const name = JSON.stringify([data.address, data.second ?? ""])
  if (before?.name === name) {
    before.update(data, setTriggerValue)
    return before.end
  }
  before?.end()
  const arrived = (count) => setStateValue("arrived", count)
  const now = mount(parentElement, data, name, setTriggerValue, arrived)
  mounted.set(parentElement, now)
  return now.end
}

function mount(parent, data, name, tell, arrived) {
  const stop = new AbortController()
  const host = Object.assign(document.createElement("section"), { className: "lnn-viewer" })
  host.setAttribute("aria-label", "Images")
  parent.append(host)
  const status = host.appendChild(Object.assign(document.createElement("p"), { className: "status" }))
  status.setAttribute("role", "status")
  const addresses = [data.address, data.second].filter(Boolean)
  host.classList.toggle("two", addresses.length === 2)
  const panes = addresses.map((address, at) => pane(host, address, data.titles?.[at], () => data, stop.signal, status))
  Promise.all(panes).then(
    async (viewers) => {
      if (data.edit) await edit(viewers[0], data.edit, (event, value) => tell(event, value), stop.signal)
      status.remove()
      if (viewers.length === 2) {
        viewers[0].followers.add(viewers[1])
        viewers[1].followers.add(viewers[0])
        viewers[1].follow(viewers[0].volume.toMm(viewers[0].state.point))
      }
      host.dataset.ready = "true"
      host.viewers = viewers
      if (data.report) arrived(viewers.every(drawn) ? viewers[0].volume.layers.length + 1 : 0)
    },
  ).catch((error) => (status.textContent = `The images cannot be shown: ${error.message}.`))
  return {
    name,
    update: (next, nextTell) => {
      data = next
      tell = nextTell
    },
    end: () => {
      stop.abort()
      host.remove()
      mounted.delete(parent)
    },
  }
}

async function pane(host, address, title, data, signal, status) {
  const frame = host.appendChild(Object.assign(document.createElement("div"), { className: "pane" }))
  if (title) frame.append(Object.assign(document.createElement("h3"), { textContent: title }))
  const box = frame.appendChild(document.createElement("div"))
  const volume = await loadCase(address, (text, share) => (status.textContent = `${text} ${Math.round(share * 100)} %`))
  shown.set(address, volume)
  signal.addEventListener("abort", () => shown.delete(address))
  const parts = build(box)
  const structures = () => (address === data().address ? data().structures : {})
  const viewer = new Viewer(volume, parts.canvases, (now) => show(parts, now, structures()))
  connect(parts, viewer, signal)
  viewer.parts = parts
  parts.picture.addEventListener("click", () => savePicture(viewer), { signal })
  for (const plane of viewer.planes) listen(plane, viewer, () => parts.mode.value, signal)
  const watch = new ResizeObserver(() => viewer.redraw())
  watch.observe(parts.planes)
  signal.addEventListener("abort", () => watch.disconnect())
  return viewer
}

// Whether each plane shows more than a black canvas.
function drawn(viewer) {
  return viewer.planes.every(({ grey }) => {
    const { data } = grey.getContext("2d").getImageData(0, 0, grey.width, grey.height)
    return data.some((value, at) => at % 4 !== 3 && value > 0)
  })
}

async function edit(viewer, address, tell, signal) {
  viewer.editor = new Editor(viewer, address, tell)
  addBar(viewer.parts.planes.parentElement, viewer.parts, viewer.editor, signal)
  viewer.parts.edit.hidden = false
  await viewer.editor.load(signal)
}
