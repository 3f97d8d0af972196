<?php

/**
 * For `opcache.preload` of a server: loads the classes of this package for all requests.
 *
 * PHP's default, `ffi.enable=preload`, allows FFI to what is preloaded and to nothing else. The native library is loaded by
 * `ffi.preload`, which names antenv.h.
 */

declare(strict_types=1);

require_once __DIR__ . '/autoload.php';

$files = new RecursiveIteratorIterator(new RecursiveDirectoryIterator(__DIR__ . '/src', FilesystemIterator::SKIP_DOTS));
foreach ($files as $file) {
    if ($file->getExtension() === 'php') {
        require_once $file->getPathname();
    }
}
