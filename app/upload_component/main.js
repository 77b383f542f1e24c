// The drop area: takes files, folders or a zip and sends them, a few at a time.

const AT_ONCE = 4
const HIDDEN = /(^|\/)(\.|__MACOSX)/
const AREA = `
<div class="drop" role="group" aria-label="Give a scan">
  <p class="lead">Drop a T1 head scan here</p>
  <p>DICOM files or their folder, a zip of them, or a NIfTI file (.nii, .nii.gz)</p>
  <p class="buttons"><button type="button" data-is="files">Choose files</button><button type="button" data-is="folder">Choose a folder</button></p>
  <input data-is="fileInput" type="file" multiple aria-label="Files of the scan" tabindex="-1">
  <input data-is="folderInput" type="file" webkitdirectory aria-label="Folder of the scan" tabindex="-1">
  <progress data-is="bar" max="1" value="0" aria-label="Upload" hidden></progress>
  <p data-is="status" role="status"></p>
</div>`

export default function ({ data, parentElement, setTriggerValue }) {
  const before = parentElement.querySelector(".lnn-upload")
  if (before?.dataset.token === data.token) {
    before.tell = setTriggerValue
    return
  }
  before?.remove()
  const host = Object.assign(document.createElement("div"), { className: "lnn-upload", innerHTML: AREA })
  host.dataset.token = data.token
  host.tell = setTriggerValue
  parentElement.append(host)
  connect(host, data)
}

function connect(host, data) {
  const parts = Object.fromEntries([...host.querySelectorAll("[data-is]")].map((part) => [part.dataset.is, part]))
  const area = host.querySelector(".drop")
  const take = (files) => send(files, host, parts, data)
  parts.files.addEventListener("click", () => parts.fileInput.click())
  parts.folder.addEventListener("click", () => parts.folderInput.click())
  for (const input of [parts.fileInput, parts.folderInput]) input.addEventListener("change", () => take([...input.files]))
  for (const event of ["dragenter", "dragover"]) area.addEventListener(event, (one) => (one.preventDefault(), area.classList.add("over")))
  area.addEventListener("dragleave", () => area.classList.remove("over"))
  area.addEventListener("drop", async (event) => {
    event.preventDefault()
    area.classList.remove("over")
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)
    take(entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...event.dataTransfer.files])
  })
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))]
  const reader = entry.createReader()
  const found = []
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed))
    if (!some.length) break
    found.push(...some)
  }
  return (await Promise.all(found.map(filesOf))).flat()
}

async function send(given, host, parts, data) {
  const files = given.filter((file) => !HIDDEN.test(file.webkitRelativePath || file.name))
  if (!files.length || host.busy) return
  host.busy = true
  const refused = tooMuch(files, data.limits)
  if (refused) return host.tell("uploaded", { token: data.token, files: 0, name: "", error: refused })
  parts.bar.hidden = false
  for (const button of [parts.files, parts.folder]) button.disabled = true
  const total = files.reduce((sum, file) => sum + file.size, 0)
  let sent = 0, next = 0, failed = null
  const one = async () => {
    while (next < files.length && !failed) {
      const number = next++
      const answer = await fetch(`${data.address}/${number}`, { method: "PUT", body: files[number], headers: { "x-lnn-med": "upload" }, credentials: "same-origin" }).catch(() => null)
      if (!answer?.ok) failed = (await answer?.json().catch(() => null))?.error ?? { code: "", message: "The upload was interrupted.", remedy: "Load the page again and repeat it." }
      sent += files[number].size
      parts.bar.value = total ? sent / total : 1
      parts.status.textContent = `${next} of ${files.length} files, ${(sent / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, one))
  host.tell("uploaded", { token: data.token, files: files.length, name: nameOf(files), error: failed })
}

// The server counts for itself; this only spares the sending.
function tooMuch(files, limits) {
  const total = files.reduce((sum, file) => sum + file.size, 0)
  const words = (count) => count.toLocaleString("en-US")
  const message =
    files.length > limits.files ? `${words(files.length)} files were given; ${words(limits.files)} are allowed.`
    : files.some((file) => file.size > limits.file_bytes) ? `A file has more than ${words(limits.file_bytes)} bytes.`
    : total > limits.total_bytes ? `The files have more than ${words(limits.total_bytes)} bytes.`
    : ""
  return message ? { code: "E_SIZE", message, remedy: "Give only the series to be measured." } : null
}

// What the user will recognise; it stays in the user's own session.
function nameOf(files) {
  const folder = files[0].webkitRelativePath?.split("/")[0]
  return folder || (files.length === 1 ? files[0].name : `${files.length} files`)
}
