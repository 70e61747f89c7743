/** How long a file that was handed to the browser stays in memory: a tab must have had time to read it. */
const KEPT_MS = 60_000;

export function saveAs(data: Blob, name: string): void {
  const url = keptUrl(data);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

/** Show a page in a tab of its own; where that is not allowed, save it. */
export function openInTab(page: Blob, name: string): void {
  const url = keptUrl(page);
  if (window.open(url, "_blank", "noopener=no") === null) saveAs(page, name);
}

function keptUrl(data: Blob): string {
  const url = URL.createObjectURL(data);
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
  return url;
}
