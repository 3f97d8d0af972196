<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * A version of a skill.
 */
final class SkillVersion extends Model
{
    public const TYPE = 'skill_version';

    /** Identifier of the version. */
    public readonly string $id;

    /** When it was created (RFC 3339). */
    public readonly string $createdAt;

    /** What the skill is for. */
    public readonly string $description;

    /** The skill's name. */
    public readonly string $name;

    /** The skill that it belongs to. */
    public readonly string $skillID;

    /** Always "skill_version". */
    public readonly string $type;
}
