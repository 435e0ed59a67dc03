// One script and one style, with names that never change: pages ask for them with a version of their own.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    outDir: "../static/canvas",
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
    rollupOptions: {
      input: "src/main.tsx",
      output: { format: "iife", entryFileNames: "canvas.js", assetFileNames: "canvas[extname]" },
    },
  },
});
