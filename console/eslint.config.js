import js from "@eslint/js";
import reactHooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist", "node_modules"] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  reactHooks.configs.flat["recommended-latest"],
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Handlers written `onClick={() => store.close()}` read better than with braces.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      // Numbers in templates are what a dense desk is made of.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // React runs event handlers; a rejected promise inside is shown by the handler itself.
      "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: { attributes: false } }],
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "Never raw HTML." },
      ],
    },
  },
  { files: ["eslint.config.js"], ...tseslint.configs.disableTypeChecked },
  // A service worker stands alone: no bundle, no types.
  { files: ["public/*.js"], ...tseslint.configs.disableTypeChecked, languageOptions: { globals: { self: "readonly", URL: "readonly" }, parserOptions: { projectService: false } } },
);
