<?php

declare(strict_types=1);

namespace Antenv;

use FFI\CData;

/**
 * A handle of the library, which is freed with this object.
 *
 * @internal
 */
final class Handle
{
    use Uncopyable;

    /** The errors after which PHP calls no destructors. */
    private const FATAL = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;

    /** @var \WeakMap<self, true>|null Those that are not destroyed. */
    private static ?\WeakMap $alive = null;

    private ?CData $pointer;

    /**
     * @param CData  $pointer The handle.
     * @param string $free    The function that frees it.
     */
    public function __construct(CData $pointer, private readonly string $free)
    {
        $this->pointer = $pointer;
        if (self::$alive === null) {
            self::$alive = new \WeakMap();
            register_shutdown_function(self::afterFatalError(...));
        }
        self::$alive[$this] = true;
    }

    public function __destruct()
    {
        $this->free();
    }

    /** Returns the handle as the library's functions take it: null, which they report, when it was freed. */
    public function pointer(): ?CData
    {
        return $this->pointer;
    }

    /** Frees the handle. Freeing again does nothing. */
    public function free(): void
    {
        [$pointer, $this->pointer] = [$this->pointer, null];
        if ($pointer !== null) {
            Native::library()->{$this->free}($pointer);
        }
    }

    /** Frees all handles at the end of a request that a fatal error has ended: the process of a server lives on. */
    private static function afterFatalError(): void
    {
        if (((error_get_last()['type'] ?? 0) & self::FATAL) !== 0) {
            foreach (self::$alive ?? [] as $handle => $ignored) {
                $handle->free();
            }
        }
    }

    /** @return array<string, bool> */
    public function __debugInfo(): array
    {
        return ['freed' => $this->pointer === null];
    }
}
