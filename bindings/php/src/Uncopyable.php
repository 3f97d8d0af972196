<?php

declare(strict_types=1);

namespace Antenv;

/**
 * What owns something in the library, of which a copy would be a second owner: cannot be cloned or serialised.
 *
 * @internal
 */
trait Uncopyable
{
    /** @throws \LogicException Always. */
    public function __clone()
    {
        throw new \LogicException('cannot clone ' . static::class . ': make a new one');
    }

    /**
     * @return array<string, mixed>
     *
     * @throws \LogicException Always.
     */
    public function __serialize(): array
    {
        throw new \LogicException('cannot serialize ' . static::class . ': make one in each process that needs one');
    }

    /**
     * @param array<string, mixed> $data
     *
     * @throws \LogicException Always.
     */
    public function __unserialize(array $data): void
    {
        throw new \LogicException('cannot unserialize ' . static::class . ': make a new one');
    }
}
