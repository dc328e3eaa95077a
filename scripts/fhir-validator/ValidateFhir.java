import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;

/** Validates each line of a file, a resource of FHIR R4, and counts what is said of them by severity and message. */
public class ValidateFhir {
    public static void main(String[] arguments) throws Exception {
        FhirContext context = FhirContext.forR4();
        ValidationSupportChain support = new ValidationSupportChain(
                new DefaultProfileValidationSupport(context),
                new CommonCodeSystemsTerminologyService(context),
                new InMemoryTerminologyServerValidationSupport(context));
        FhirInstanceValidator instances = new FhirInstanceValidator(support);
        instances.setErrorForUnknownProfiles(false); // IHE's profiles are not published as a package of Maven
        FhirValidator validator = context.newValidator().registerValidatorModule(instances);
        Map<String, Integer> said = new TreeMap<>();
        int resources = 0;
        int wrong = 0;
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            resources++;
            boolean bad = false;
            for (SingleValidationMessage one : validator.validateWithResult(line).getMessages()) {
                boolean error = one.getSeverity().ordinal() >= ResultSeverityEnum.ERROR.ordinal();
                bad |= error;
                String place = one.getLocationString().replaceAll("\\[\\d+\\]", "");
                said.merge(one.getSeverity() + " " + place + ": " + one.getMessage(), 1, Integer::sum);
            }
            wrong += bad ? 1 : 0;
        }
        said.forEach((message, times) -> System.out.println(times + " x " + message));
        System.out.println(resources + " resources, " + wrong + " with errors");
        System.exit(wrong == 0 ? 0 : 1);
    }
}
