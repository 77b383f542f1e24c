// The component's entry: called by Streamlit at each run of the page with the same data or new.

import { build, connect, show } from "./controls.js"
import { savePicture } from "./picture.js"
import { listen } from "./pointer.js"
import { Viewer } from "./viewer.js"
import { loadCase } from "./volume.js"

const mounted = new WeakMap()

export default function ({ data, parentElement }) {
  const before = mounted.get(parentElement)
  const name = JSON.stringify([data.address, data.second ?? ""])
  if (before?.name === name) {
    before.update(data)
    return before.end
  }
  before?.end()
  const now = mount(parentElement, data, name)
  mounted.set(parentElement, now)
  return now.end
}

function mount(parent, data, name) {
  const stop = new AbortController()
  const host = Object.assign(document.createElement("section"), { className: "lnn-viewer" })
  host.setAttribute("aria-label", "Images")
  parent.append(host)
  const status = host.appendChild(Object.assign(document.createElement("p"), { className: "status" }))
  status.setAttribute("role", "status")
  const panes = [data.address, data.second].filter(Boolean).map((address) => pane(host, address, () => data, stop.signal, status))
  Promise.all(panes).then(
    (viewers) => {
      status.remove()
      if (viewers.length === 2) {
        viewers[0].followers.add(viewers[1])
        viewers[1].followers.add(viewers[0])
      }
      host.dataset.ready = "true"
      host.viewers = viewers
    },
    (error) => (status.textContent = `The images cannot be shown: ${error.message}.`),
  )
  return {
    name,
    update: (next) => {
      data = next
    },
    end: () => {
      stop.abort()
      host.remove()
      mounted.delete(parent)
    },
  }
}

async function pane(host, address, data, signal, status) {
  const box = host.appendChild(Object.assign(document.createElement("div"), { className: "pane" }))
  const volume = await loadCase(address, (text, share) => (status.textContent = `${text} ${Math.round(share * 100)} %`))
  const parts = build(box)
  const viewer = new Viewer(volume, parts.canvases, (now) => show(parts, now, data().structures))
  connect(parts, viewer, signal)
  parts.picture.addEventListener("click", () => savePicture(viewer), { signal })
  for (const plane of viewer.planes) listen(plane, viewer, () => parts.mode.value, signal)
  const watch = new ResizeObserver(() => viewer.redraw())
  watch.observe(parts.planes)
  signal.addEventListener("abort", () => watch.disconnect())
  return viewer
}
