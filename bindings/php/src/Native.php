<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use FFI;
use FFI\CData;

/**
 * The native library: finds it, loads it once, and converts what its functions return.
 *
 * Everything that touches FFI is here: with `ffi.enable=preload` only preloaded files may.
 *
 * @internal
 */
final class Native
{
    public const ABI_VERSION = 1;

    public const OK = 0;
    public const INVALID_ARGUMENT = 1;
    public const INVALID_HANDLE = 2;
    public const TIMEOUT = 5;
    public const DONE = 8;
    public const CLOSED = 9;
    public const INTERRUPTED = 12;

    /** What `ffi.preload` calls the library: FFI_SCOPE in antenv.h. */
    private const SCOPE = 'antenv';

    private static ?FFI $library = null;

    /** Returns the library, which the first use loads. */
    public static function library(): FFI
    {
        return self::$library ??= self::load();
    }

    /** Returns the library's path: ANTENV_LIBRARY, the one in this package, or the name by which the system finds it. */
    public static function path(): string
    {
        [$name, $installed] = match (PHP_OS_FAMILY) {
            'Darwin' => ['libantenv.dylib', 'libantenv.0.dylib'],
            'Windows' => ['antenv.dll', 'antenv.dll'],
            default => ['libantenv.so', 'libantenv.so.0'],
        };
        $bundled = dirname(__DIR__) . "/lib/$name";
        $named = getenv('ANTENV_LIBRARY');

        return $named !== false && $named !== '' ? $named : (is_file($bundled) ? $bundled : $installed);
    }

    /** Returns the declarations that FFI reads: the library's header without comments and preprocessor lines. */
    public static function declarations(): string
    {
        $header = (string) file_get_contents(dirname(__DIR__) . '/antenv.h');

        return (string) preg_replace('/^#.*\n/m', '', $header); // the definitions for ffi.preload
    }

    /**
     * Calls a function that returns text; returns the status, and the text or the error object.
     *
     * @return array{int, string}
     */
    public static function callForText(string $function, mixed ...$arguments): array
    {
        $text = self::pointer('char *');
        $status = self::library()->$function(...[...$arguments, FFI::addr($text)]);

        return [$status, self::take($text)];
    }

    /** Calls a function that returns text and does not wait; returns the text or throws the error. */
    public static function text(string $function, mixed ...$arguments): string
    {
        [$status, $text] = self::callForText($function, ...$arguments);
        if ($status !== self::OK) {
            throw AntenvException::of($status, $text);
        }

        return $text;
    }

    /**
     * Calls a function that makes a handle of a type such as "client"; returns the handle or throws the error.
     */
    public static function handle(string $type, string $function, #[\SensitiveParameter] mixed ...$arguments): Handle
    {
        $out = self::pointer("antenv_$type *");
        $error = self::pointer('char *');
        $status = self::library()->$function(...[...$arguments, FFI::addr($out), FFI::addr($error)]);
        $text = self::take($error);
        if ($status !== self::OK) {
            throw AntenvException::of($status, $text);
        }

        return new Handle($out, "antenv_{$type}_free");
    }

    /** Makes a variable of a C type in the library's declarations, such as "antenv_completion". */
    public static function variable(string $type): CData
    {
        $variable = self::library()->new($type);
        if ($variable === null) {
            throw new \LogicException("antenv: the library has no type $type");
        }

        return $variable;
    }

    /** Makes a variable that holds a pointer, NULL at first. */
    public static function pointer(string $type): CData
    {
        return self::variable($type);
    }

    /** Returns the address of a variable. */
    public static function address(CData $variable): CData
    {
        return FFI::addr($variable);
    }

    /** Returns whether a pointer is NULL. */
    public static function isNull(CData $pointer): bool
    {
        return FFI::isNull($pointer);
    }

    /** Returns a copy of a string that the library allocated, and frees the string; "" for NULL. */
    public static function take(CData $text): string
    {
        if (FFI::isNull($text)) {
            return '';
        }
        $copy = FFI::string($text);
        self::library()->antenv_string_free($text);

        return $copy;
    }

    private static function load(): FFI
    {
        if (!extension_loaded('ffi')) {
            throw new \RuntimeException("antenv: PHP's extension FFI is not loaded: install or enable it (extension=ffi)");
        }
        try {
            // With ffi.enable=preload this is the only way: ffi.preload has loaded the library.
            $library = FFI::scope(self::SCOPE);
        } catch (\FFI\Exception) {
            $library = self::open();
        }
        $found = $library->antenv_abi_version();
        if ($found !== self::ABI_VERSION) {
            throw new \RuntimeException(sprintf(
                'antenv: the library %s has ABI version %d; this package is made for %d',
                self::path(),
                $found,
                self::ABI_VERSION,
            ));
        }

        return $library;
    }

    private static function open(): FFI
    {
        try {
            return FFI::cdef(self::declarations(), self::path());
        } catch (\FFI\Exception $why) {
            throw new \RuntimeException(
                'antenv: the library cannot be used: ' . $why->getMessage() . '; install it, or name it in '
                    . 'ANTENV_LIBRARY (on a server, preload it: see docs/php.md)',
                0,
                $why,
            );
        }
    }
}
