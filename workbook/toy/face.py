"""Drawn faces for the toy corpus: an actor's look, an expression, and a short film of the two."""

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image, ImageDraw

FPS = 15  # frames per second
WIDTH, HEIGHT = 160, 128  # pixels of a frame
UNIT = 120  # pixels of the drawing board to one head unit (half a head's height)
BOARD = (2.7, 2.9)  # head units, width and height of the drawing board
SHRINK = 3  # factor by which a drawing is reduced before it is placed in the frame
HEAD = 37.0  # pixels of a frame to one head unit, before the zoom of the clip
LEVELS = 4  # steps between the resting face and the full expression, and between a shut and a speaking mouth


@dataclass(frozen=True)
class Expression:
    """The changes to the resting face, in head units; 0 = at rest."""

    brow_raise: float = 0.0
    brow_tilt: float = 0.0  # positive: inner ends up
    eye_open: float = 0.0  # share added to the opening of the eye
    mouth_curve: float = 0.0  # positive: corners up
    mouth_open: float = 0.0
    mouth_width: float = 0.0  # share added to the width
    teeth: float = 0.0  # share of the opening that shows teeth
    wrinkle: float = 0.0  # lines beside the nose, 0 to 1
    tongue: float = 0.0  # put out below the lower lip


EXPRESSIONS = {
    "rest": Expression(),
    "smile": Expression(0.03, 0.0, -0.10, 0.17, 0.14, 0.25, teeth=0.75, wrinkle=0.4),
    "droop": Expression(0.02, 0.20, -0.35, -0.21, 0.0, -0.10),
    "frown": Expression(-0.05, -0.16, -0.20, -0.06, 0.12, 0.05, teeth=1.0, wrinkle=1.0),
    "wide": Expression(0.11, 0.04, 0.35, -0.02, 0.20, -0.22),
    "doze": Expression(0.04, 0.06, -0.80, 0.07, 0.0, -0.05),
    "tense": Expression(0.10, 0.20, 0.30, -0.14, 0.16, 0.30, teeth=1.0),
    "sneer": Expression(-0.03, 0.0, -0.40, -0.12, 0.10, 0.10, wrinkle=1.0, tongue=0.24),
}

SKINS = np.array([(234, 200, 174), (226, 184, 154), (214, 165, 130), (190, 138, 102), (172, 120, 88), (148, 102, 76)])
HAIRS = np.array([(38, 28, 24), (72, 46, 30), (122, 78, 44), (186, 146, 88), (150, 64, 36), (130, 130, 132)])
IRISES = np.array([(66, 44, 30), (70, 96, 130), (74, 104, 70), (110, 84, 50)])
CUTS = ("short", "long", "parted")
FRECKLES = [(side * x, y) for side in (-1, 1) for x, y in ((0.30, 0.16), (0.42, 0.13), (0.36, 0.24), (0.50, 0.22))]


class Look:
    """An actor's face, drawn at random, the same in all clips; lengths in head units, colours RGB 0-255."""

    beard = lashes = freckles = False

    def __init__(self, rng: np.random.Generator):
        self.skin, hair = _near(SKINS, 5, rng), _near(HAIRS, 8, rng)
        self.hair = hair * min(1.0, 0.55 * np.mean(self.skin) / np.mean(hair))  # darker than the skin
        self.iris = _near(IRISES, 8, rng)
        self.clothes = rng.uniform(40, 200, 3)
        self.cut = str(rng.choice(CUTS, p=(0.35, 0.35, 0.3)))
        self.head_width = rng.uniform(0.72, 0.84)
        self.jaw = rng.uniform(0.10, 0.26)
        self.hairline = rng.uniform(-0.66, -0.54)
        self.eye_apart = rng.uniform(0.30, 0.36)
        self.eye_size = rng.uniform(0.135, 0.165)
        self.brow_thick = rng.uniform(0.05, 0.08)
        self.nose = rng.uniform(0.85, 1.15)
        self.mouth = rng.uniform(0.25, 0.32)
        self.lip = rng.uniform(0.2, 0.7)  # how red the lips are, 0 to 1


def _near(colours: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    return np.clip(rng.choice(colours) + rng.normal(0, spread, 3), 15, 250)


# Each kind of person: ranges of lengths in the order in which they are drawn, and the middle colour of the hair.
RANGES = {
    "man": {"head_width": (0.74, 0.80), "jaw": (0.08, 0.14), "eye_size": (0.125, 0.14), "hair": (40, 30, 26)}
    | {"brow_thick": (0.08, 0.10), "hairline": (-0.70, -0.62)},
    "woman": {"head_width": (0.70, 0.76), "jaw": (0.20, 0.28), "eye_size": (0.15, 0.165), "hair": (150, 60, 34)}
    | {"brow_thick": (0.04, 0.055), "hairline": (-0.62, -0.54)},
    "child": {"head_width": (0.84, 0.90), "jaw": (0.16, 0.22), "eye_size": (0.185, 0.205), "hair": (222, 188, 96)}
    | {"brow_thick": (0.035, 0.045), "nose": (0.65, 0.75), "mouth": (0.22, 0.25), "eye_apart": (0.35, 0.38)}
    | {"hairline": (-0.50, -0.44)},
}
MARKS = {
    "man": {"cut": "short", "beard": True, "lip": 0.2},
    "woman": {"cut": "long", "lashes": True, "lip": 1.0},
    "child": {"cut": "parted", "freckles": True, "lip": 0.4},
}
KINDS = tuple(RANGES)


def draw_person(kind: str, rng: np.random.Generator) -> Look:
    """A random face of one of KINDS: each has hair, eyes and a head of its own kind."""
    look = Look(rng)
    for name, value in RANGES[kind].items():
        is_colour = name == "hair"
        drawn = np.clip(value + rng.normal(0, 8, 3), 10, 250) if is_colour else rng.uniform(*value)
        setattr(look, name, drawn)
    vars(look).update(MARKS[kind])
    return look


class Scene:
    """Pose, light and background of one clip, drawn at random and independent of its emotion."""

    def __init__(self, rng: np.random.Generator):
        # Head units from the middle of the head to the features: right, down.
        self.turn = rng.uniform(-0.07, 0.07), rng.uniform(-0.04, 0.04)
        self.light = rng.uniform(-0.6, 0.6), rng.uniform(-0.7, 0.0), 0.8  # its direction: right, down, to the camera
        self.ambient = rng.uniform(0.62, 0.72)
        self.zoom = rng.uniform(0.92, 1.10)
        self.place = rng.uniform(-16, 16), rng.uniform(-5, 5)  # pixels from the middle of the frame
        self.tilt = rng.uniform(-0.07, 0.07)  # radians
        self.sway = rng.uniform(0.5, 2.0), rng.uniform(0.3, 1.0), rng.uniform(0.005, 0.03)  # pixels, pixels, radians
        # The colours (2, 3) of its upper and lower edge.
        self.backdrop = rng.uniform(60, 160, (2, 1)) + rng.uniform(-25, 25, (2, 3))


class Board:
    """A drawing board in head units: (0, 0) is the middle of the head, x to the right, y down."""

    def __init__(self, image: Image.Image):
        self.image, self.pen = image, ImageDraw.Draw(image)

    def shape(self, points: np.ndarray, colour) -> None:
        """Fills the polygon of points (n, 2)."""
        self.pen.polygon(self.pixels(points).ravel().tolist(), fill=_colour(colour))

    def line(self, points: np.ndarray, colour, width: float) -> None:
        """Joins the points (n, 2) by a line of the given width."""
        self.pen.line(self.pixels(points).ravel().tolist(), fill=_colour(colour), width=max(1, round(width * UNIT)))

    @staticmethod
    def pixels(points: np.ndarray) -> np.ndarray:
        """Head units as pixels of the board."""
        return (np.asarray(points) + np.array(BOARD) / 2) * UNIT


def _colour(colour) -> tuple:
    return (*(int(c) for c in np.clip(colour, 0, 255)), 255)


def _mix(a, b, share: float) -> np.ndarray:
    return (1 - share) * np.asarray(a) + share * np.asarray(b)


def _oval(x: float, y: float, rx: float, ry: float, jaw: float = 0.0) -> np.ndarray:
    """Points (64, 2) of an ellipse whose lower half narrows by the share `jaw`."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    narrow = 1 - jaw * np.clip(np.sin(angle), 0, 1) ** 2
    return np.stack([x + rx * np.cos(angle) * narrow, y + ry * np.sin(angle)], axis=1)


def draw_head(look: Look, scene: Scene) -> Image.Image:
    """The head without its features, RGBA, shaded by the light of the scene."""
    image = Image.new("RGBA", tuple(round(side * UNIT) for side in BOARD), (0, 0, 0, 0))
    board, width = Board(image), look.head_width
    if look.cut == "long":
        board.shape(_oval(0, 0.05, width + 0.17, 1.2, jaw=0.05), _mix(look.hair, 0, 0.25))
    else:
        board.shape(_oval(0, -0.18, width + 0.08, 0.95), look.hair)
    board.shape([(-0.36, 0.5), (0.36, 0.5), (0.42, 1.45), (-0.42, 1.45)], _mix(look.skin, 0, 0.10))
    for side in (-1, 1):
        board.shape(_oval(side * width, 0.05, 0.10, 0.19), _mix(look.skin, (190, 90, 80), 0.2))
    board.shape(_oval(0, 0, width, 1.0, look.jaw), look.skin)
    if look.beard:
        _draw_beard(board, look)
    _draw_fringe(board, look)
    return _shade(image, look, scene)


def _draw_beard(board: Board, look: Look) -> None:
    """Hair from ear to ear over the jaw, up to below the nose."""
    jaw = _oval(0, 0.03, look.head_width + 0.01, 1.02, look.jaw)
    jaw = jaw[jaw[:, 1] > 0.08]  # from the right ear down to the chin and up to the left ear
    x = np.linspace(-1, 1, 25) * jaw[:, 0].max()
    edge = 0.12 + 0.28 * np.clip(1 - np.abs(x) / 0.62, 0, 1) ** 0.5
    board.shape(np.concatenate([jaw, np.stack([x, edge], 1)]), look.hair)


def _draw_fringe(board: Board, look: Look) -> None:
    """Hair over the forehead, down to the hairline."""
    x = np.linspace(-1, 1, 25)
    sweep = 0.12 * x if look.cut == "parted" else 0.0
    top = -0.20 - 0.92 * np.sqrt(1 - x**2)
    lower = np.maximum(look.hairline + 0.42 * np.abs(x) ** 3 + sweep, top)
    reach = (look.head_width + 0.06) * x
    board.shape(np.concatenate([np.stack([reach, top], 1), np.stack([reach, lower], 1)[::-1]]), look.hair)


def _shade(image: Image.Image, look: Look, scene: Scene) -> Image.Image:
    """The drawing with the shading of a ball, darker around eyes, nose and mouth."""
    columns, rows = (np.linspace(-side / 2, side / 2, round(side * UNIT / 8)) for side in BOARD)
    x, y = columns[None, :] / (look.head_width + 0.1), rows[:, None] / 1.15
    depth = np.sqrt(np.clip(1 - x**2 - y**2, 0.05, 1))
    light = np.array(scene.light) / np.linalg.norm(scene.light)
    shade = scene.ambient + 0.5 * np.clip(x * light[0] + y * light[1] + depth * light[2], 0, 1)
    right, down = scene.turn
    eyes = [(right + side * look.eye_apart, down - 0.12, 0.24, 0.15, 0.30) for side in (-1, 1)]
    under_nose, chin = (right * 1.5, down + 0.30, 0.16, 0.07, 0.30), (right, down + 0.74, 0.2, 0.06, 0.18)
    for left, top, rx, ry, strength in (*eyes, under_nose, chin):  # soft shadows
        distance = ((columns[None, :] - left) / rx) ** 2 + ((rows[:, None] - top) / ry) ** 2
        shade = shade * (1 - strength * np.exp(-distance))
    shade = Image.fromarray(np.uint8(np.clip(shade, 0, 1.15) / 1.15 * 255)).resize(image.size, Image.BICUBIC)
    pixels = np.asarray(image).astype(np.float32)
    pixels[..., :3] *= np.asarray(shade)[..., None].astype(np.float32) * (1.15 / 255)
    return Image.fromarray(np.uint8(np.clip(pixels, 0, 255)))


def draw_features(head: Image.Image, look: Look, turn: tuple, pose: Expression, lid: float) -> Image.Image:
    """The head with brows, eyes, nose and mouth in the given pose, RGBA; lid 1 = open, 0 = shut."""
    board = Board(head.copy())
    offset = np.array(turn)
    for side in (-1, 1):
        _draw_eye(board, look, offset, side, (1 + pose.eye_open) * lid)
        _draw_brow(board, look, offset, side, pose)
    _draw_nose(board, look, offset, pose)
    if look.freckles:
        for x, y in FRECKLES:
            board.shape(offset + _oval(x, y, 0.022, 0.022), _mix(look.skin, (120, 60, 30), 0.6))
    _draw_mouth(board, look, offset, pose)
    return board.image.reduce(SHRINK)


def _draw_eye(board: Board, look: Look, offset: np.ndarray, side: int, opening: float) -> None:
    size = look.eye_size
    centre = offset + np.array((side * look.eye_apart, -0.10))
    x = np.linspace(-1, 1, 21)
    arch = size * 0.62 * max(opening, 0.0) * np.sqrt(1 - x**2)
    upper, lower = (centre + np.stack([x * size, y], 1) for y in (-arch, 0.8 * arch))
    board.shape(np.concatenate([upper, lower[::-1]]), (240, 238, 234))
    for radius, colour in ((0.56, look.iris), (0.28, (15, 12, 12))):
        circle = _oval(0, 0, radius * size, radius * size)
        limit = np.interp(circle[:, 0], x * size, arch)
        circle[:, 1] = np.clip(circle[:, 1], -limit, 0.8 * limit)
        board.shape(centre + circle, colour)
    if look.lashes:
        board.line(upper - (0, 0.012), (24, 18, 18), 0.05)
        corner = upper[-1 if side > 0 else 0]
        board.line(np.stack([corner, np.add(corner, (0.07 * side, -0.06))]), (24, 18, 18), 0.04)
    if opening > 0.4:
        board.shape(centre + _oval(0.04, -0.03, 0.025, 0.025), (255, 255, 255))
    board.line(upper, _mix(look.skin, 0, 0.75), 0.035)
    board.line(lower, _mix(look.skin, 0, 0.4), 0.018)


def _draw_brow(board: Board, look: Look, offset: np.ndarray, side: int, pose: Expression) -> None:
    x = np.linspace(-1, 1, 9)  # from the inner to the outer end
    y = -0.33 - pose.brow_raise + 0.05 * x**2 + pose.brow_tilt * 0.7 * x
    middle = offset + np.stack([side * (look.eye_apart + 0.20 * x), y], 1)
    thick = look.brow_thick * (0.75 - 0.35 * x)[:, None] * (0, 1)
    board.shape(np.concatenate([middle - thick, (middle + thick)[::-1]]), _mix(look.hair, 0, 0.45))


def _draw_nose(board: Board, look: Look, offset: np.ndarray, pose: Expression) -> None:
    shadow, long = _mix(look.skin, (70, 20, 10), 0.35), 0.25 * look.nose
    tip = offset * 1.5
    ridge = np.array([(0.05, -0.12), (0.10, long - 0.02), (0.0, long + 0.03)])
    board.line(ridge + np.stack([offset, tip, tip]), shadow, 0.022)
    for side in (-1, 1):
        board.shape(tip + _oval(side * 0.07 * look.nose, long + 0.02, 0.035, 0.02), _mix(look.skin, 0, 0.65))
        if pose.wrinkle:
            crease = np.array([(side * 0.13, long - 0.16), (side * 0.19, long - 0.02), (side * 0.33, long + 0.22)])
            board.line(offset + crease, _mix(look.skin, shadow, pose.wrinkle), 0.035)
            bridge = np.array([(side * 0.06, -0.30), (side * 0.05, -0.16)])
            board.line(offset + bridge, _mix(look.skin, shadow, pose.wrinkle), 0.03)


def _draw_mouth(board: Board, look: Look, offset: np.ndarray, pose: Expression) -> None:
    x = np.linspace(-1, 1, 25)
    width = look.mouth * (1 + pose.mouth_width)
    line = 0.53 - pose.mouth_curve * (x**2 - 0.5)
    gap = pose.mouth_open * np.sqrt(1 - x**2)
    curve = lambda y: offset + np.stack([width * x, y], 1)  # noqa: E731
    upper, lower = line - 0.30 * gap, line + 0.70 * gap
    full = 0.055 * np.sqrt(1 - x**2)
    lips = _mix(look.skin, (150, 40, 50), 0.35 + 0.5 * look.lip)
    cupid = 1 - 0.35 * np.exp(-((x / 0.15) ** 2))
    board.shape(np.concatenate([curve(upper - full * cupid), curve(lower + 1.3 * full)[::-1]]), lips)
    board.shape(np.concatenate([curve(upper), curve(lower)[::-1]]), (62, 18, 22))
    if pose.teeth:
        teeth = upper + pose.teeth * 0.85 * (lower - upper)
        board.shape(np.concatenate([curve(upper), curve(teeth)[::-1]]), (236, 232, 222))
    board.line(curve(upper), _mix(lips, 0, 0.55), 0.022)
    if pose.tongue:
        out = _oval(0, lower[12] - 0.02, 0.5 * width, pose.tongue)
        board.shape(offset + out[: len(out) // 2], (214, 84, 96))


def draw_backdrop(look: Look, scene: Scene) -> Image.Image:
    """The still background, RGB: a wall and the shoulders."""
    fade = np.linspace(0, 1, HEIGHT)[:, None, None]
    wall = (1 - fade) * scene.backdrop[0] + fade * scene.backdrop[1]
    image = Image.fromarray(np.uint8(np.broadcast_to(wall, (HEIGHT, WIDTH, 3))))
    x, y = scene.place[0] + WIDTH / 2, scene.place[1] + HEIGHT / 2
    reach, drop = 1.35 * HEAD * scene.zoom, 1.12 * HEAD * scene.zoom
    ImageDraw.Draw(image).ellipse((x - reach, y + drop, x + reach, y + drop + 120), fill=_colour(look.clothes)[:3])
    return image


def _place(drawing: Image.Image, backdrop: Image.Image, scene: Scene, drift: np.ndarray) -> np.ndarray:
    """One frame (HEIGHT, WIDTH, 3) uint8: the drawing, turned and scaled, on the backdrop.

    drift : pixels right, pixels down, radians, added to the place and the tilt of the scene
    """
    scale = UNIT / SHRINK / (HEAD * scene.zoom)  # pixels of the drawing to one pixel of the frame
    x, y = scene.place[0] + drift[0] + WIDTH / 2, scene.place[1] + drift[1] + HEIGHT / 2
    cos, sin = scale * np.cos(scene.tilt + drift[2]), scale * np.sin(scene.tilt + drift[2])
    cx, cy = drawing.width / 2, drawing.height / 2
    matrix = (cos, sin, cx - cos * x - sin * y, -sin, cos, cy + sin * x - cos * y)
    layer = drawing.transform((WIDTH, HEIGHT), Image.AFFINE, matrix, Image.BILINEAR)
    frame = backdrop.copy()
    frame.paste(layer, mask=layer)
    return np.asarray(frame)


def film(
    look: Look, expression: Expression, presence: np.ndarray, rng: np.random.Generator, fps: int = FPS
) -> np.ndarray:
    """The frames (N, HEIGHT, WIDTH, 3) uint8 RGB of an actor who shows an expression for a while.

    presence : (N,) strength of the expression in each frame; 0 = the resting face, 1 = the full expression
    fps : frames per second
    All else (pose, light, blinks, the talking mouth, the moving head) comes from `rng` and does not depend on the
    expression.
    """
    scene = Scene(rng)
    lids, talk, drift = _idle(len(presence), fps, scene, rng)
    head, backdrop = draw_head(look, scene), draw_backdrop(look, scene)
    drawings = {}
    frames = np.empty((len(presence), HEIGHT, WIDTH, 3), np.uint8)
    steps = [np.round(track * LEVELS) / LEVELS for track in (presence, talk)]  # so that frames can share a drawing
    for i, state in enumerate(zip(*steps, lids, strict=True)):
        if state not in drawings:
            drawings[state] = draw_features(head, look, scene.turn, _pose(expression, *state[:2]), state[2])
        frames[i] = _place(drawings[state], backdrop, scene, drift[i])
    return frames


def _pose(expression: Expression, share: float, talk: float) -> Expression:
    """An expression at a strength of `share`, with a talking mouth."""
    pose = {name: share * value for name, value in asdict(expression).items()}
    pose["mouth_open"] += 0.10 * talk
    return Expression(**pose)


def _idle(n: int, fps: int, scene: Scene, rng: np.random.Generator) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Motion that is independent of the emotion: lids (n) 0 or 1, talking mouth (n,) in [0, 1], head drift (n, 3)."""
    time = np.arange(n) / fps
    blinks = rng.uniform(0, max(3.0, n / fps), 2)  # a shorter film may have none
    lids = [float(not any(0 <= t - blink < 0.13 for blink in blinks)) for t in time]
    rate, phase = rng.uniform(3.5, 5.0), rng.uniform(0, 2 * np.pi, 5)
    talk = np.clip(0.5 + 0.5 * np.sin(2 * np.pi * rate * time + phase[0] + 2 * np.sin(3 * time + phase[1])), 0, 1)
    speed = rng.uniform(0.8, 2.0, 3)
    drift = np.array(scene.sway) * np.sin(speed * time[:, None] + phase[2:])
    return lids, talk, drift
