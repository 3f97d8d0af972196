<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The work to do: a session.
 */
final class SessionWorkData extends Model
{
    public const TYPE = 'session';

    /** The session's identifier. */
    public readonly string $id;

    /** Always "session". */
    public readonly string $type;
}
