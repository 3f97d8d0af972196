<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * A memory: a text at a path of a memory store.
 */
final class Memory extends Model
{
    public const TYPE = 'memory';

    /** Identifier (`mem_...`). */
    public readonly string $id;

    /** Its text; null in the basic view. */
    public readonly ?string $content;

    /** SHA-256 of the text's UTF-8, in lower-case hexadecimal. */
    public readonly string $contentSHA256;

    /** How many bytes the text's UTF-8 has. */
    public readonly int $contentSizeBytes;

    /** When it was created (RFC 3339). */
    public readonly string $createdAt;

    /** The store that holds it. */
    public readonly string $memoryStoreID;

    /** Its version, a new one after each change. */
    public readonly string $memoryVersionID;

    /** Its path, such as `/notes/todo.md`. */
    public readonly string $path;

    /** Always "memory". */
    public readonly string $type;

    /** When it was last updated. */
    public readonly string $updatedAt;
}
