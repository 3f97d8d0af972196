<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The result of deleting a memory.
 */
final class MemoryDeleted extends Model
{
    public const TYPE = 'memory_deleted';

    /** The memory's identifier. */
    public readonly string $id;

    /** Always "memory_deleted". */
    public readonly string $type;
}
