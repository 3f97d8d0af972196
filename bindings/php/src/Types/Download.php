<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * A file that was downloaded.
 */
final class Download extends Model
{
    /** Where it is. */
    public readonly string $path;

    /** Its size. */
    public readonly int $bytes;

    /** The content type that the server sent; null when it sent none. */
    public readonly ?string $contentType;
}
