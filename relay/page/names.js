/** Which paths of a manifest may be followed: the same rules as on a device, so that no disk sees a name it cannot bear. */

const NAME_SIZE_MAX = 255;
const PATH_LENGTH_MAX = 4096;
const PATH_DEPTH_MAX = 128;

const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f/\\]/;
const WINDOWS_DEVICE = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?$/i;

/** Whether a path stays inside what it is unpacked into, on every system. */
export function isPathAllowed(path) {
  const names = path.split("/");
  return path.length <= PATH_LENGTH_MAX && names.length <= PATH_DEPTH_MAX && names.every(isNameAllowed);
}

function isNameAllowed(name) {
  return !(
    name === "" ||
    /[. ]$/.test(name) ||
    FORBIDDEN.test(name) ||
    WINDOWS_DEVICE.test(name) ||
    new TextEncoder().encode(name).length > NAME_SIZE_MAX ||
    name.normalize("NFC") !== name ||
    name === ".holdfast"
  );
}

/** Two paths with one key are one file on a disk that folds case. */
export function foldKey(path) {
  return path.normalize("NFD").toUpperCase().toLowerCase().normalize("NFC");
}
