// A picture of the three planes with what a reader of the picture must know.

import { ON_CPU, outlined } from "./plane.js"

export const MARK = "LNN-Med: research use only, not a medical device. AI-generated outlines: check them."

export function picture(viewer) {
  const ratio = window.devicePixelRatio || 1
  const shots = viewer.planes.map((plane) => plane.canvas)
  const width = shots.reduce((sum, canvas) => sum + canvas.width, 0), height = Math.max(...shots.map((canvas) => canvas.height))
  const strip = Math.round(34 * ratio)
  const sheet = Object.assign(document.createElement("canvas"), { width, height: height + strip })
  const pen = sheet.getContext("2d", { alpha: false, ...ON_CPU })
  pen.fillRect(0, 0, sheet.width, sheet.height)
  let left = 0
  for (const canvas of shots) {
    pen.drawImage(canvas, left, 0)
    left += canvas.width
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0)
  pen.font = "600 14px system-ui, sans-serif"
  pen.textBaseline = "middle"
  outlined(pen, MARK, 8, (height + strip / 2) / ratio)
  return new Promise((done) => sheet.toBlob(done, "image/png"))
}

export async function savePicture(viewer) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(await picture(viewer))
  link.download = "lnn-med-picture.png"
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}
