import type { CustomLayerInterface, CustomRenderMethodInput, Map as GlMap } from "maplibre-gl";

import { WORKER_STATUSES } from "../protocol/frames";
import { mercatorX, mercatorY } from "./mercator";
import { dotPx, type MapPalette } from "./palette";
import { TRAIL_STRIDE, type WorkerField } from "./workerField";

/** Paths fade out over this long. */
const TRAIL_SECONDS = 150;
/** Drawn in this order: who may be needed lies above who is busy or silent, an alarm above all. */
const DRAW_ORDER = ["silent", "busy", "free", "offered", "tracked"] as const;
const POINT_BYTES = 12;
const SEGMENT_FLOATS = 6;

const POINT_VERTEX = `#version 300 es
in vec2 place; in vec2 kind;
uniform mat4 matrix; uniform float size;
flat out int status; flat out float px;
void main() {
  gl_Position = matrix * vec4(place, 0.0, 1.0);
  status = int(kind.x);
  px = size * (kind.y > 0.5 ? 1.7 : 1.0);
  gl_PointSize = px;
}`;

/* One signed distance a status: circle, diamond, square, ring, octagon. The edge keeps crowded marks apart. */
const POINT_FRAGMENT = `#version 300 es
precision mediump float;
flat in int status; flat in float px;
uniform vec3 palette[${WORKER_STATUSES.length}]; uniform vec3 edge;
out vec4 colour;
void main() {
  vec2 p = abs(gl_PointCoord * 2.0 - 1.0);
  float d = status == 0 ? length(p) - 0.78
          : status == 1 ? (p.x + p.y - 0.98) * 0.71
          : status == 2 ? max(p.x, p.y) - 0.68
          : status == 3 ? abs(length(p) - 0.62) - 0.18
          : max(max(p.x, p.y), (p.x + p.y) * 0.7071) - 0.78;
  float soft = 1.6 / px;
  float alpha = 1.0 - smoothstep(0.0, soft, d - 2.0 / px);
  float inside = 1.0 - smoothstep(-soft, 0.0, d);
  if (alpha < 0.01) discard;
  colour = vec4(mix(edge, palette[status], inside) * alpha, alpha);
}`;

const TRAIL_VERTEX = `#version 300 es
in vec3 place;
uniform mat4 matrix; uniform float now;
out float strength;
void main() {
  gl_Position = matrix * vec4(place.xy, 0.0, 1.0);
  strength = clamp(1.0 - (now - place.z) / ${TRAIL_SECONDS}.0, 0.0, 1.0);
}`;

const TRAIL_FRAGMENT = `#version 300 es
precision mediump float;
in float strength; uniform vec3 trail; out vec4 colour;
void main() { float a = strength * 0.5; colour = vec4(trail * a, a); }`;

interface Origin {
  readonly x: number;
  readonly y: number;
  readonly seconds: number;
}

interface Uploads {
  readonly gl: WebGL2RenderingContext;
  readonly points: WebGLProgram;
  readonly trails: WebGLProgram;
  readonly pointArray: WebGLVertexArrayObject;
  readonly trailArray: WebGLVertexArrayObject;
  readonly pointBuffer: WebGLBuffer;
  readonly trailBuffer: WebGLBuffer;
}

/**
 * Workers as GL points and their fresh paths as lines, straight from the field into two buffers.
 *
 * Positions are single-precision offsets from a local origin, and the origin is folded into the matrix in double
 * precision: absolute Mercator coordinates in single precision would jitter by metres.
 */
export class PointLayer implements CustomLayerInterface {
  readonly id = "clenzy-workers";
  readonly type = "custom" as const;
  readonly renderingMode = "2d" as const;
  private map: GlMap | null = null;
  private uploads: Uploads | null = null;
  private origin: Origin = { x: 0, y: 0, seconds: 0 };
  private pointCount = 0;
  private segmentCount = 0;
  private isStale = true;
  private field: WorkerField | null = null;
  private selectedSlot: number | null = null;

  constructor(private palette: MapPalette) {}

  draw(field: WorkerField, selectedSlot: number | null): void {
    this.field = field;
    this.selectedSlot = selectedSlot;
    this.isStale = true;
    this.map?.triggerRepaint();
  }

  recolour(palette: MapPalette): void {
    this.palette = palette;
    this.map?.triggerRepaint();
  }

  onAdd(map: GlMap, context: WebGLRenderingContext | WebGL2RenderingContext): void {
    if (!(context instanceof WebGL2RenderingContext)) throw new Error("the point layer needs WebGL 2");
    this.map = map;
    this.uploads = prepare(context);
    this.isStale = true;
  }

  onRemove(): void {
    this.map = null;
    this.uploads = null;
  }

  render(_context: WebGLRenderingContext | WebGL2RenderingContext, input: CustomRenderMethodInput): void {
    const { uploads, map } = this;
    if (!uploads || !map) return;
    if (this.isStale) this.upload(uploads, map);
    const matrix = fold(input.defaultProjectionData.mainMatrix, this.origin);
    uploads.gl.enable(uploads.gl.BLEND);
    uploads.gl.blendFunc(uploads.gl.ONE, uploads.gl.ONE_MINUS_SRC_ALPHA);
    this.renderTrails(uploads, matrix);
    this.renderPoints(uploads, matrix, map.getZoom());
    uploads.gl.bindVertexArray(null);
  }

  private renderTrails({ gl, trails, trailArray }: Uploads, matrix: Float32Array): void {
    // Where cells stand for the workers there is nobody whose path this would be.
    if (this.segmentCount === 0 || this.pointCount === 0) return;
    gl.useProgram(trails);
    gl.bindVertexArray(trailArray);
    gl.uniformMatrix4fv(gl.getUniformLocation(trails, "matrix"), false, matrix);
    gl.uniform1f(gl.getUniformLocation(trails, "now"), Date.now() / 1000 - this.origin.seconds);
    gl.uniform3fv(gl.getUniformLocation(trails, "trail"), this.palette.trail);
    gl.drawArrays(gl.LINES, 0, this.segmentCount * 2);
  }

  private renderPoints({ gl, points, pointArray }: Uploads, matrix: Float32Array, zoom: number): void {
    if (this.pointCount === 0) return;
    gl.useProgram(points);
    gl.bindVertexArray(pointArray);
    gl.uniformMatrix4fv(gl.getUniformLocation(points, "matrix"), false, matrix);
    gl.uniform1f(gl.getUniformLocation(points, "size"), dotPx(zoom) * devicePixelRatio);
    gl.uniform3fv(gl.getUniformLocation(points, "palette"), this.palette.status.flat());
    gl.uniform3fv(gl.getUniformLocation(points, "edge"), this.palette.edge);
    gl.drawArrays(gl.POINTS, 0, this.pointCount);
  }

  private upload({ gl, pointBuffer, trailBuffer }: Uploads, map: GlMap): void {
    this.isStale = false;
    const center = map.getCenter();
    this.origin = { x: mercatorX(center.lng), y: mercatorY(center.lat), seconds: Math.floor(Date.now() / 1000) };
    const points = this.field ? packPoints(this.field, this.selectedSlot, this.origin) : new ArrayBuffer(0);
    const trails = this.field ? packTrails(this.field, this.origin) : new Float32Array(0);
    this.pointCount = points.byteLength / POINT_BYTES;
    this.segmentCount = trails.length / SEGMENT_FLOATS;
    gl.bindBuffer(gl.ARRAY_BUFFER, pointBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, points, gl.DYNAMIC_DRAW);
    gl.bindBuffer(gl.ARRAY_BUFFER, trailBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, trails, gl.DYNAMIC_DRAW);
  }
}

/** 12 bytes a worker: x and y as floats from the origin, status, whether selected, two spare. */
function packPoints(field: WorkerField, selectedSlot: number | null, origin: Origin): ArrayBuffer {
  const buffer = new ArrayBuffer(field.dots.size * POINT_BYTES);
  const floats = new Float32Array(buffer);
  const bytes = new Uint8Array(buffer);
  let at = 0;
  for (const status of DRAW_ORDER) {
    const code = WORKER_STATUSES.indexOf(status);
    for (const dot of field.dots.values()) {
      if (dot.status !== status) continue;
      floats[at * 3] = mercatorX(dot.lng) - origin.x;
      floats[at * 3 + 1] = mercatorY(dot.lat) - origin.y;
      bytes[at * POINT_BYTES + 8] = code;
      bytes[at * POINT_BYTES + 9] = dot.slot === selectedSlot ? 1 : 0;
      at += 1;
    }
  }
  return buffer;
}

function packTrails({ trails, trailCount }: WorkerField, origin: Origin): Float32Array<ArrayBuffer> {
  const packed = new Float32Array(trailCount * SEGMENT_FLOATS);
  let at = 0;
  for (let from = 0; from < trailCount * TRAIL_STRIDE; from += TRAIL_STRIDE) {
    const born = (trails[from + 4] ?? 0) - origin.seconds;
    if (born < -TRAIL_SECONDS) continue;
    packed[at] = (trails[from] ?? 0) - origin.x;
    packed[at + 1] = (trails[from + 1] ?? 0) - origin.y;
    packed[at + 2] = born;
    packed[at + 3] = (trails[from + 2] ?? 0) - origin.x;
    packed[at + 4] = (trails[from + 3] ?? 0) - origin.y;
    packed[at + 5] = born;
    at += SEGMENT_FLOATS;
  }
  return packed.subarray(0, at);
}

/** `matrix * translate(origin)`, computed in double precision and only then rounded. */
function fold(matrix: ArrayLike<number>, origin: Origin): Float32Array {
  const folded = Float32Array.from(matrix);
  for (let row = 0; row < 4; row += 1) {
    folded[12 + row] =
      (matrix[row] ?? 0) * origin.x + (matrix[4 + row] ?? 0) * origin.y + (matrix[12 + row] ?? 0);
  }
  return folded;
}

function prepare(gl: WebGL2RenderingContext): Uploads {
  const points = link(gl, POINT_VERTEX, POINT_FRAGMENT, ["place", "kind"]);
  const trails = link(gl, TRAIL_VERTEX, TRAIL_FRAGMENT, ["place"]);
  const pointArray = gl.createVertexArray();
  const pointBuffer = gl.createBuffer();
  gl.bindVertexArray(pointArray);
  gl.bindBuffer(gl.ARRAY_BUFFER, pointBuffer);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, POINT_BYTES, 0);
  gl.enableVertexAttribArray(1);
  gl.vertexAttribPointer(1, 2, gl.UNSIGNED_BYTE, false, POINT_BYTES, 8);
  const trailArray = gl.createVertexArray();
  const trailBuffer = gl.createBuffer();
  gl.bindVertexArray(trailArray);
  gl.bindBuffer(gl.ARRAY_BUFFER, trailBuffer);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 12, 0);
  gl.bindVertexArray(null);
  return { gl, points, trails, pointArray, trailArray, pointBuffer, trailBuffer };
}

function link(gl: WebGL2RenderingContext, vertex: string, fragment: string, attributes: readonly string[]): WebGLProgram {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
    const shader = gl.createShader(type);
    if (!shader) throw new Error("the graphics context is lost");
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader) ?? "shader");
  }
  attributes.forEach((name, index) => gl.bindAttribLocation(program, index, name));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "program");
  return program;
}
