<?php

declare(strict_types=1);

namespace Antenv;

/**
 * Holds a value that no dump of the object that owns it shows: not var_dump, print_r, var_export, json_encode, a cast
 * to array, nor a stack trace.
 *
 * @internal
 *
 * @template T
 */
final class Hidden
{
    /** @var \WeakMap<self<mixed>, mixed>|null */
    private static ?\WeakMap $values = null;

    /** @param T $value */
    public function __construct(#[\SensitiveParameter] mixed $value)
    {
        self::$values ??= new \WeakMap();
        self::$values[$this] = $value;
    }

    /** @return T */
    public function value(): mixed
    {
        return self::$values[$this] ?? null;
    }

    /**
     * Leaves nothing to copy: the value is of this process alone.
     *
     * @return array<string, mixed>
     */
    public function __serialize(): array
    {
        throw new \LogicException('cannot serialize what is hidden');
    }
}
