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

    private ?CData $pointer;

    /**
     * @param CData  $pointer The handle.
     * @param string $free    The function that frees it.
     */
    public function __construct(CData $pointer, private readonly string $free)
    {
        $this->pointer = $pointer;
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

    /** @return array<string, bool> */
    public function __debugInfo(): array
    {
        return ['freed' => $this->pointer === null];
    }
}
