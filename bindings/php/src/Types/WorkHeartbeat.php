<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The result of a heartbeat.
 */
final class WorkHeartbeat extends Model
{
    public const TYPE = 'work_heartbeat';

    /** The heartbeat's time: the `expectedLastHeartbeat` of the next one, verbatim. */
    public readonly string $lastHeartbeat;

    /** Whether the lease was extended. */
    public readonly bool $leaseExtended;

    /** The item's state; a text when this version does not know the value. */
    public readonly State|string $state;

    /** How many seconds the lease lasts from now on. */
    public readonly int $ttlSeconds;

    /** Always "work_heartbeat". */
    public readonly string $type;
}
