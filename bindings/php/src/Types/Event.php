<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * An event of a session. Every field of its type is a property: `$event->toolUseID`.
 */
final class Event extends Model
{
    /** Identifier (`sevt_...`). */
    public readonly ?string $id;

    /** When it was processed (RFC 3339); null while it is queued. */
    public readonly ?string $processedAt;

    /** What it is, such as "agent.message". */
    public readonly string $type;
}
