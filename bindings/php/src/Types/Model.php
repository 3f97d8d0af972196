<?php

declare(strict_types=1);

namespace Antenv\Types;

use Antenv\Hidden;
use Antenv\Json;
use Antenv\Names;

/**
 * An object that the API returned; a plain Model when its type is one that this version does not know.
 *
 * Its fields are properties. A field that this version does not know can be read as a property, too. One that the API did
 * not send, or sent with another type than is documented, throws an Error when it is read. Objects may be cloned and
 * serialised; nothing can be changed in them.
 */
class Model implements \JsonSerializable
{
    /** What `type` is in the objects of a class. */
    public const TYPE = null;

    /** The properties that only toArray() and toJSON() show. */
    protected const SECRET = [];

    /** @var array<class-string, array<string, array{string, bool, \Closure(mixed): mixed}>> */
    private static array $plans = [];

    /** @var array<class-string, \Closure(self, string, mixed): void> */
    private static array $setters = [];

    /** @var Hidden<\stdClass> */
    private Hidden $fields;

    final protected function __construct(\stdClass $fields)
    {
        $this->read($fields);
    }

    /**
     * Makes an object of what was decoded from JSON, or, for tests, of an array with the API's names.
     *
     * @param mixed $fields
     */
    final public static function of(mixed $fields): static
    {
        if (is_array($fields)) {
            $fields = Json::decode(Json::encode((object) $fields));
        }

        return new static($fields instanceof \stdClass ? $fields : new \stdClass());
    }

    /**
     * Returns what makes an object of one of some classes, whichever `type` says.
     *
     * @internal
     *
     * @template T of self
     *
     * @param class-string<T> ...$classes
     *
     * @return \Closure(mixed): (T|self)
     */
    final public static function oneOf(string ...$classes): \Closure
    {
        $make = self::maker(array_values($classes));

        return static fn (mixed $fields): self => $make($fields instanceof \stdClass ? $fields : new \stdClass());
    }

    /**
     * Returns the object as the API sent it, with its names, secrets included. An empty object is an empty array.
     *
     * @return array<string, mixed>
     */
    public function toArray(): array
    {
        return (array) Json::plain($this->fields->value());
    }

    /** Returns the object as the API sent it, as JSON, secrets included. */
    public function toJSON(): string
    {
        return Json::encode($this->fields->value());
    }

    /** Returns what is encoded as JSON: the object as the API sent it, without secrets. */
    public function jsonSerialize(): \stdClass
    {
        $fields = clone $this->fields->value();
        foreach (static::SECRET as $property) {
            unset($fields->{Names::snake($property)});
        }

        return $fields;
    }

    /** Returns a field that this version does not know. */
    public function __get(string $name): mixed
    {
        $wire = Names::snake($name);
        $fields = $this->fields->value();
        if (!property_exists($fields, $wire)) {
            throw new \Error(sprintf('the API sent no `%s`, of which %s::$%s would be made', $wire, static::class, $name));
        }
        if (isset(self::plan(static::class)[$name])) {
            throw new \Error(sprintf('%s::$%s has another type than is documented: see toArray()', static::class, $name));
        }

        return Json::plain($fields->$wire);
    }

    /** Returns whether there is such a field that can be read, and it is not null. */
    public function __isset(string $name): bool
    {
        return !isset(self::plan(static::class)[$name]) && isset($this->fields->value()->{Names::snake($name)});
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        $shown = [];
        foreach (get_object_vars($this->jsonSerialize()) as $wire => $value) {
            $shown[Names::camel((string) $wire)] = Json::plain($value);
        }
        foreach (self::plan(static::class) as $name => [$wire]) {
            if (isset($this->$name)) {
                $shown[$name] = $this->$name;
            }
        }

        return array_diff_key($shown, array_flip(static::SECRET));
    }

    /** @return array{fields: \stdClass} */
    public function __serialize(): array
    {
        return ['fields' => $this->jsonSerialize()];
    }

    /** @param array{fields: \stdClass} $data */
    public function __unserialize(array $data): void
    {
        $this->read($data['fields']);
    }

    private function read(\stdClass $fields): void
    {
        $this->fields = new Hidden($fields);
        $class = static::class;
        // Only code in the scope of a class can write its read-only properties.
        $set = self::$setters[$class] ??= \Closure::bind(
            static function (self $model, string $name, mixed $value): void {
                $model->$name = $value;
            },
            null,
            $class,
        );
        foreach (self::plan($class) as $name => [$wire, $nullable, $make]) {
            if (!property_exists($fields, $wire) && !$nullable) {
                $this->leave($name);
                continue;
            }
            try {
                $set($this, $name, $make($fields->$wire ?? null));
            } catch (\TypeError) {
                $this->leave($name);
            }
        }
    }

    /** Leaves a property to __get. */
    private function leave(string $name): void
    {
        \Closure::bind(function () use ($name): void {
            unset($this->$name);
        }, $this, static::class)();
    }

    /**
     * Returns how the properties of a class are made: of which field, whether it may be missing, and by what.
     *
     * @param class-string $class
     *
     * @return array<string, array{string, bool, \Closure(mixed): mixed}>
     */
    private static function plan(string $class): array
    {
        if (isset(self::$plans[$class])) {
            return self::$plans[$class];
        }
        $plan = [];
        foreach ((new \ReflectionClass($class))->getProperties(\ReflectionProperty::IS_PUBLIC) as $property) {
            $type = $property->getType();
            $types = $type instanceof \ReflectionUnionType ? $type->getTypes() : [$type];
            $names = array_map(static fn (mixed $one): string => (string) $one?->getName(), $types);
            $nullable = $type?->allowsNull() ?? true;
            $plan[$property->name] = [Names::snake($property->name), $nullable, self::maker($names)];
        }

        return self::$plans[$class] = $plan;
    }

    /**
     * Returns what makes a value of one of some types of what was decoded.
     *
     * @param list<string> $types
     *
     * @return \Closure(mixed): mixed
     */
    private static function maker(array $types): \Closure
    {
        foreach ($types as $type) {
            if (is_subclass_of($type, \BackedEnum::class)) {
                return static fn (mixed $value): mixed => is_string($value) ? $type::tryFrom($value) ?? $value : $value;
            }
        }
        $models = [];
        foreach ($types as $type) {
            if (is_a($type, self::class, true)) {
                $models[$type::TYPE ?? ''] = $type;
            }
        }
        if ($models !== []) {
            $only = count($models) === 1 ? reset($models) : self::class;

            return static fn (mixed $value): mixed => $value instanceof \stdClass
                ? ($models[$value->type ?? ''] ?? $only)::of($value)
                : $value;
        }

        return in_array('array', $types, true)
            ? static fn (mixed $value): mixed => Json::plain($value)
            : static fn (mixed $value): mixed => $value;
    }
}
