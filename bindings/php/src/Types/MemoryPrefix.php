<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * A folder in a list of memories that ends at its `depth`.
 */
final class MemoryPrefix extends Model
{
    public const TYPE = 'memory_prefix';

    /** Its path, which ends with `/`. */
    public readonly string $path;

    /** Always "memory_prefix". */
    public readonly string $type;
}
