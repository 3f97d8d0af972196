<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The configuration of an environment in the cloud.
 */
final class CloudConfig extends Model
{
    public const TYPE = 'cloud';

    /** The network policy. */
    public readonly UnrestrictedNetwork|LimitedNetwork|Model $networking;

    /** What is installed. */
    public readonly Packages $packages;

    /** Always "cloud". */
    public readonly string $type;
}
