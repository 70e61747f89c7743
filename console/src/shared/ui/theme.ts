export type Theme = "dark" | "light";

const KEY = "clenzy.theme";

/** Apply the chosen theme, or the page's own default when none was chosen on this device. */
export function startTheme(fallback: Theme | "system"): Theme {
  const chosen = localStorage.getItem(KEY);
  const system: Theme = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  const theme = chosen === "dark" || chosen === "light" ? chosen : fallback === "system" ? system : fallback;
  document.documentElement.dataset.theme = theme;
  return theme;
}

export function currentTheme(): Theme {
  return document.documentElement.dataset.theme === "light" ? "light" : "dark";
}

export function chooseTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("clenzy:theme"));
}
